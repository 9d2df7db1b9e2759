# Every file of native/test with a main() is one test program named after the file; the others are helpers that all of
# them are linked with.
file(GLOB test_files CONFIGURE_DEPENDS "${native}/test/*.cpp")
set(test_programs "")
set(test_support "")
foreach(file IN LISTS test_files)
    file(STRINGS "${file}" main_line REGEX "^int main\\(" LIMIT_COUNT 1)
    if(main_line)
        list(APPEND test_programs "${file}")
    else()
        list(APPEND test_support "${file}")
    endif()
endforeach()

# Settings of test programs and their helpers: where the libraries and the fixtures are.
function(rewardlens_test_target target)
    target_link_libraries(${target} PRIVATE rewardlens_core)
    target_compile_definitions(${target} PRIVATE
        REWARDLENS_LIBRARY_DIR="${REWARDLENS_LIBRARY_DIR}"
        REWARDLENS_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    rewardlens_target(${target})
endfunction()

if(test_support)
    add_library(rewardlens_test_support STATIC ${test_support})
    rewardlens_test_target(rewardlens_test_support)
endif()

foreach(file IN LISTS test_programs)
    get_filename_component(name "${file}" NAME_WE)
    add_executable(${name} "${file}")
    if(TARGET rewardlens_test_support)
        target_link_libraries(${name} PRIVATE rewardlens_test_support)
    endif()
    rewardlens_test_target(${name})
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
    set_tests_properties(${name} PROPERTIES TIMEOUT 300)
endforeach()
