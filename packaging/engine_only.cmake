# Read by CMake right after llama.cpp's project() line: leaves out its "common" library (chat parsers, downloads, HTTP), which
# no Hearth process loads and which is two fifths of the compile. A -D on the command line cannot do this, because
# llama-cpp-python forces the cache entry; a normal variable in the project's own scope wins over it.
set(LLAMA_BUILD_COMMON OFF)
