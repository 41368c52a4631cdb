/* rpc/grpc/tsan.h - tells ThreadSanitizer what it cannot see: a tag given to gRPC comes back with whatever
 * was written before it went. */
#ifndef LUN_RPC_GRPC_TSAN_H
#define LUN_RPC_GRPC_TSAN_H

#if defined(__SANITIZE_THREAD__)
#define LUN_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LUN_TSAN 1
#endif
#endif

#ifdef LUN_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define TSAN_ACQUIRE(address) __tsan_acquire(address)
#define TSAN_RELEASE(address) __tsan_release(address)
#else
#define TSAN_ACQUIRE(address) (void)(address)
#define TSAN_RELEASE(address) (void)(address)
#endif

#endif
