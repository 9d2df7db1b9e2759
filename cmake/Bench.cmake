# rewardlens-stock: the reference of `npm run bench`. It links llama.cpp's libraries only, none of our own code.
add_executable(rewardlens-stock "${CMAKE_SOURCE_DIR}/bench/native/stock.cpp")
target_link_libraries(rewardlens-stock PRIVATE rewardlens_llama Threads::Threads)
rewardlens_target(rewardlens-stock)
