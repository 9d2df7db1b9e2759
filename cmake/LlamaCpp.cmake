# Provides the target `rewardlens_llama` (headers and libraries of one llama.cpp release) and the variables
#   REWARDLENS_LLAMA_RELEASE   release of the headers, e.g. v0.5.0
#   REWARDLENS_LLAMA_VERSION   the same as llama_version() says it, without "-dev"
#   REWARDLENS_GGML_VERSION    likewise for ggml_version()
#   REWARDLENS_LLAMA_FLAVOR    prebuilt | source
#   REWARDLENS_LIBRARY_DIR     directory of the libraries and the CPU plugins
#   REWARDLENS_PLUGIN_CUDA, REWARDLENS_PLUGIN_VULKAN   plugin files of sibling packages, or empty
# Stops with both releases named when headers and libraries differ.

find_program(REWARDLENS_NODE NAMES node nodejs REQUIRED)
find_package(Git QUIET)

# Extra options for a source build, e.g. REWARDLENS_CMAKE_ARGS="-DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90".
function(rewardlens_apply_env_args)
    separate_arguments(arguments NATIVE_COMMAND "$ENV{REWARDLENS_CMAKE_ARGS}")
    foreach(argument IN LISTS arguments)
        if(NOT argument MATCHES "^-D([A-Za-z0-9_]+)(:[A-Z]+)?=(.*)$")
            message(FATAL_ERROR "REWARDLENS_CMAKE_ARGS: expected -DNAME=VALUE, got \"${argument}\"")
        endif()
        set("${CMAKE_MATCH_1}" "${CMAKE_MATCH_3}" CACHE STRING "from REWARDLENS_CMAKE_ARGS" FORCE)
    endforeach()
endfunction()

# Runs locate.mjs; sets bundle, bundle_release, and lib_* for the prebuilt libraries (lib_dir empty without any).
function(rewardlens_locate)
    execute_process(COMMAND "${REWARDLENS_NODE}" "${CMAKE_SOURCE_DIR}/cmake/locate.mjs" "${CMAKE_SOURCE_DIR}"
        OUTPUT_VARIABLE json RESULT_VARIABLE status)
    if(NOT status EQUAL 0)
        message(FATAL_ERROR "cmake/locate.mjs failed (see above)")
    endif()
    foreach(field IN ITEMS bundle release bundleRelease version)
        string(JSON value GET "${json}" ${field})
        set(located_${field} "${value}" PARENT_SCOPE)
    endforeach()
    string(JSON kind TYPE "${json}" prebuilt)
    foreach(field IN ITEMS name directory llama ggml base soRelease packageVersion release)
        set(value "")
        if(kind STREQUAL "OBJECT")
            string(JSON value GET "${json}" prebuilt ${field})
        endif()
        set(prebuilt_${field} "${value}" PARENT_SCOPE)
    endforeach()
    foreach(gpu IN ITEMS cuda vulkan)
        string(JSON value ERROR_VARIABLE missing GET "${json}" plugins ${gpu})
        if(missing)
            set(value "")
        endif()
        string(TOUPPER ${gpu} upper)
        set(REWARDLENS_PLUGIN_${upper} "${value}" PARENT_SCOPE)
    endforeach()
endfunction()

# Unpacks `paths` of the bundle into `directory` unless a finished copy is there. The stamp is written last, so an
# interrupted run starts again; a rename at the end keeps two configures at once from meeting half a tree.
function(rewardlens_unpack directory)
    if(EXISTS "${directory}/.complete")
        return()
    endif()
    if(NOT GIT_EXECUTABLE)
        message(FATAL_ERROR "git is needed to unpack llama.cpp's headers from ${located_bundle}: install git")
    endif()
    string(RANDOM LENGTH 8 suffix)
    set(work "${directory}.${suffix}")
    file(MAKE_DIRECTORY "${work}/tree")
    execute_process(COMMAND "${GIT_EXECUTABLE}" clone --quiet --bare "${located_bundle}" "${work}/bundle.git"
        RESULT_VARIABLE status ERROR_VARIABLE problem)
    if(NOT status EQUAL 0)
        message(FATAL_ERROR "git could not read ${located_bundle}: ${problem}")
    endif()
    execute_process(COMMAND "${GIT_EXECUTABLE}" --git-dir "${work}/bundle.git" archive
        -o "${work}/tree.tar" HEAD ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
    execute_process(COMMAND "${GIT_EXECUTABLE}" --git-dir "${work}/bundle.git" rev-parse --short HEAD
        OUTPUT_FILE "${work}/tree/.complete" COMMAND_ERROR_IS_FATAL ANY)
    execute_process(COMMAND "${CMAKE_COMMAND}" -E tar xf "${work}/tree.tar"
        WORKING_DIRECTORY "${work}/tree" COMMAND_ERROR_IS_FATAL ANY)
    file(REMOVE_RECURSE "${directory}")
    file(RENAME "${work}/tree" "${directory}" RESULT status)
    file(REMOVE_RECURSE "${work}")
    if(NOT EXISTS "${directory}/.complete")
        message(FATAL_ERROR "could not unpack llama.cpp into ${directory}: ${status}")
    endif()
endfunction()

# Reads MAJOR.MINOR.PATCH from the set() lines of a CMakeLists.txt of llama.cpp.
function(rewardlens_read_version file prefix result)
    set(version "")
    foreach(part IN ITEMS MAJOR MINOR PATCH)
        file(STRINGS "${file}" line REGEX "^set\\(${prefix}_VERSION_${part} +[0-9]+\\)")
        if(NOT line MATCHES "([0-9]+)\\)")
            message(FATAL_ERROR "${file}: no ${prefix}_VERSION_${part}; this llama.cpp release is not supported yet")
        endif()
        list(APPEND version ${CMAKE_MATCH_1})
    endforeach()
    list(JOIN version "." version)
    set(${result} "${version}" PARENT_SCOPE)
endfunction()

# Stops when the prebuilt libraries are not of the release that the headers describe.
function(rewardlens_check_prebuilt)
    if(NOT prebuilt_release STREQUAL located_bundleRelease OR NOT prebuilt_soRelease STREQUAL located_bundleRelease)
        message(FATAL_ERROR
            "llama.cpp headers and libraries differ:\n"
            "  headers:   ${located_bundleRelease} (node-llama-cpp ${located_version}, ${located_bundle})\n"
            "  libraries: ${prebuilt_release} (@node-llama-cpp/${prebuilt_name} ${prebuilt_packageVersion}, ${prebuilt_llama})\n"
            "Reinstall so that both packages have one version (npm ci), or run npm run build:llama.")
    endif()
endfunction()

# Imports the shared libraries of @node-llama-cpp/<platform>.
function(rewardlens_use_prebuilt headers)
    add_library(rewardlens_llama INTERFACE)
    target_include_directories(rewardlens_llama SYSTEM INTERFACE "${headers}/include" "${headers}/ggml/include")
    target_link_libraries(rewardlens_llama INTERFACE "${prebuilt_llama}" "${prebuilt_ggml}" "${prebuilt_base}")
    target_compile_definitions(rewardlens_llama INTERFACE LLAMA_SHARED GGML_SHARED GGML_BACKEND_SHARED)
endfunction()

# Adds llama.cpp itself to this build: shared libraries in <build>/bin, the CPU backend linked in, not a plugin.
macro(rewardlens_build_from_source source)
    enable_language(C)
    file(STRINGS "${source}/.complete" LLAMA_BUILD_COMMIT)  # or llama.cpp would take our own commit for its own
    set(LLAMA_BUILD_NUMBER 0)
    set(GIT_EXE "" CACHE STRING "empty: ggml would ask our own repository for its commit" FORCE)
    set(BUILD_SHARED_LIBS ON)
    foreach(part IN ITEMS COMMON TESTS TOOLS EXAMPLES SERVER APP)
        set(LLAMA_BUILD_${part} OFF)
    endforeach()
    option(GGML_NATIVE "ggml: optimize for this machine" ON)
    add_subdirectory("${source}" "${CMAKE_BINARY_DIR}/llama-build" EXCLUDE_FROM_ALL)
    add_library(rewardlens_llama INTERFACE)
    target_link_libraries(rewardlens_llama INTERFACE llama ggml ggml-base)
endmacro()

rewardlens_apply_env_args()
rewardlens_locate()
set(REWARDLENS_LLAMA_RELEASE "${located_bundleRelease}")
if(prebuilt_directory AND NOT REWARDLENS_BUILD_LLAMA)
    rewardlens_check_prebuilt()
endif()
set(llama_headers "${cache_dir}/headers-${located_bundleRelease}")
rewardlens_unpack("${llama_headers}" include ggml/include CMakeLists.txt ggml/CMakeLists.txt)
rewardlens_read_version("${llama_headers}/CMakeLists.txt" LLAMA REWARDLENS_LLAMA_VERSION)
rewardlens_read_version("${llama_headers}/ggml/CMakeLists.txt" GGML REWARDLENS_GGML_VERSION)

if(REWARDLENS_BUILD_LLAMA OR NOT prebuilt_directory)
    if(NOT REWARDLENS_BUILD_LLAMA)
        message(STATUS "no prebuilt llama.cpp libraries for this platform: building them from source (minutes)")
    endif()
    set(REWARDLENS_LLAMA_FLAVOR source)
    set(REWARDLENS_LIBRARY_DIR "${CMAKE_BINARY_DIR}/bin")
    set(REWARDLENS_PLUGIN_CUDA "")  # plugins of other builds do not fit a source build
    set(REWARDLENS_PLUGIN_VULKAN "")
    rewardlens_unpack("${cache_dir}/source-${located_bundleRelease}")
    rewardlens_build_from_source("${cache_dir}/source-${located_bundleRelease}")
else()
    set(REWARDLENS_LLAMA_FLAVOR prebuilt)
    set(REWARDLENS_LIBRARY_DIR "${prebuilt_directory}")
    rewardlens_use_prebuilt("${llama_headers}")
endif()
message(STATUS "llama.cpp ${REWARDLENS_LLAMA_RELEASE} (${REWARDLENS_LLAMA_FLAVOR}): ${REWARDLENS_LIBRARY_DIR}")
