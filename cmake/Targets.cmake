# Compile and link settings of our own targets.

# `path` relative to the directory of the addon, or empty.
function(rewardlens_relative result path)
    set(relative "")
    if(path)
        file(REAL_PATH "${CMAKE_LIBRARY_OUTPUT_DIRECTORY}" from)
        file(RELATIVE_PATH relative "${from}" "${path}")
    endif()
    set(${result} "${relative}" PARENT_SCOPE)
endfunction()

function(rewardlens_target target)
    set_target_properties(${target} PROPERTIES
        CXX_VISIBILITY_PRESET hidden
        VISIBILITY_INLINES_HIDDEN ON
        BUILD_RPATH_USE_ORIGIN ON)
    if(MSVC)
        target_compile_options(${target} PRIVATE /W4 $<$<BOOL:${REWARDLENS_WERROR}>:/WX>)
    else()
        target_compile_options(${target} PRIVATE -O2 -Wall -Wextra $<$<BOOL:${REWARDLENS_WERROR}>:-Werror>)
    endif()
    if(REWARDLENS_SANITIZE)
        target_compile_options(${target} PRIVATE
            -fsanitize=${REWARDLENS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1)
        target_link_options(${target} PRIVATE -fsanitize=${REWARDLENS_SANITIZE})
    endif()
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "STATIC_LIBRARY" OR WIN32)
        return()
    endif()
    # Relative first, so that a moved or copied project still finds its own node_modules; absolute as a fallback.
    rewardlens_relative(relative "${REWARDLENS_LIBRARY_DIR}")
    if(APPLE)
        set(origin "@loader_path")
    else()
        set(origin "$ORIGIN")
        # Resolve every symbol at load time: a library that lacks one then fails to load instead of killing the process.
        target_link_options(${target} PRIVATE -Wl,-z,now)
    endif()
    set_target_properties(${target} PROPERTIES
        SKIP_BUILD_RPATH OFF
        BUILD_WITH_INSTALL_RPATH ON
        INSTALL_RPATH "${origin}/${relative};${REWARDLENS_LIBRARY_DIR}")
endfunction()

# Writes rewardlens-build.json beside the addon: what the TypeScript side needs to find libraries and plugins.
# Paths are relative to that file.
function(rewardlens_write_build_json)
    rewardlens_relative(library "${REWARDLENS_LIBRARY_DIR}")
    rewardlens_relative(cuda "${REWARDLENS_PLUGIN_CUDA}")
    rewardlens_relative(vulkan "${REWARDLENS_PLUGIN_VULKAN}")
    set(plugins "")
    foreach(gpu IN ITEMS cuda vulkan)
        if(${gpu})
            list(APPEND plugins "\n    \"${gpu}\": \"${${gpu}}\"")
        endif()
    endforeach()
    list(JOIN plugins "," plugins)
    if(REWARDLENS_LLAMA_FLAVOR STREQUAL "prebuilt")
        set(library_release "${prebuilt_release}")
    else()
        set(library_release "${REWARDLENS_LLAMA_RELEASE}")
    endif()
    file(CONFIGURE OUTPUT "${CMAKE_LIBRARY_OUTPUT_DIRECTORY}/rewardlens-build.json" @ONLY CONTENT [[{
  "llamaRelease": "@library_release@",
  "headersRelease": "@REWARDLENS_LLAMA_RELEASE@",
  "llamaVersion": "@REWARDLENS_LLAMA_VERSION@",
  "ggmlVersion": "@REWARDLENS_GGML_VERSION@",
  "flavor": "@REWARDLENS_LLAMA_FLAVOR@",
  "libraryDir": "@library@",
  "plugins": {@plugins@
  }
}
]])
endfunction()
