# The Lua VMs: where their headers and modules are. Included by the root.

if(LUNARCH_ROCK_INCDIR)
    set(LUNARCH_VMS rock)
    # The rockspec has to let in what calls itself Lua 5.1, as LuaJIT does: plain Lua 5.1 is told here.
    set(versions)
    foreach(header lua.h luajit.h)
        if(EXISTS ${LUNARCH_ROCK_INCDIR}/${header})
            file(STRINGS ${LUNARCH_ROCK_INCDIR}/${header} found REGEX "^#define[ \t]+LUA(JIT)?_VERSION_NUM")
            list(APPEND versions ${found})
        endif()
    endforeach()
    if(NOT versions MATCHES "LUA_VERSION_NUM[ \t]+504|LUAJIT_VERSION_NUM[ \t]+201")
        # Lines that begin with a space are left as they are.
        message(FATAL_ERROR
            " Lunarch is for Lua 5.4 and LuaJIT 2.1; lua.h in ${LUNARCH_ROCK_INCDIR} belongs to neither.\n"
            " For Lua 5.4:  luarocks --lua-version 5.4 ...\n"
            " For LuaJIT:   luarocks --lua-version 5.1 ... LUA_INCDIR=$(pkg-config --variable=includedir luajit)")
    endif()
endif()

# For each VM: <VM>_INCLUDE_DIRS, and where it looks for modules, below the prefix: <VM>_CDIR and <VM>_LDIR. Below the
# prefix of the VM itself that is where its pkg-config file says; elsewhere the same folders without the architecture.
foreach(vm ${LUNARCH_VMS})
    if(vm STREQUAL "rock")
        set(rock_INCLUDE_DIRS ${LUNARCH_ROCK_INCDIR})
        set(rock_CDIR ${LUNARCH_ROCK_CDIR})
        set(rock_LDIR ${LUNARCH_ROCK_LDIR})
        break()
    endif()
    pkg_check_modules(${vm} REQUIRED ${vm})
    pkg_get_variable(cdir ${vm} INSTALL_CMOD)
    pkg_get_variable(ldir ${vm} INSTALL_LMOD)
    pkg_get_variable(vm_prefix ${vm} prefix)
    get_filename_component(abi ${cdir} NAME)
    if(vm_prefix STREQUAL CMAKE_INSTALL_PREFIX)
        file(RELATIVE_PATH ${vm}_CDIR ${vm_prefix} ${cdir})
        file(RELATIVE_PATH ${vm}_LDIR ${vm_prefix} ${ldir})
    else()
        set(${vm}_CDIR lib/lua/${abi})
        set(${vm}_LDIR share/lua/${abi})
    endif()
endforeach()

# One of our modules for every VM: lunarch/<name>.so, from `sources` and the libraries that follow them.
function(lua_module name sources)
    foreach(vm ${LUNARCH_VMS})
        set(target ${name}_${vm})
        add_library(${target} MODULE ${${sources}})
        # Headers only: a module that links liblua brings a second VM into the process.
        target_include_directories(${target} SYSTEM PRIVATE ${${vm}_INCLUDE_DIRS})
        target_link_libraries(${target} PRIVATE ${ARGN})
        # lua_close() would unmap the code from under its running threads.
        target_link_options(${target} PRIVATE -Wl,-z,nodelete)
        set_target_properties(${target} PROPERTIES
            PREFIX "" OUTPUT_NAME ${name} LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/${${vm}_CDIR}/lunarch)
        export_only(${target} "luaopen_*")
        install(TARGETS ${target} LIBRARY DESTINATION ${${vm}_CDIR}/lunarch)
    endforeach()
endfunction()
