/* spec/alike/print.h - a message as text, field by field, with what two servers cannot have in common taken
 * out: ids of members and terms become `*`, revisions count from a base. */
#ifndef LUN_CONFORM_PRINT_H
#define LUN_CONFORM_PRINT_H

#include <stdio.h>

#include <protobuf-c/protobuf-c.h>

/* One line without its end. NULL prints as "nothing". */
void print_message(FILE *out, const ProtobufCMessage *message, int64_t base_rev);

#endif
