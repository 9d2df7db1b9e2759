#include "gguf_source.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace rewardlens {

namespace {

#ifdef _WIN32
using stat_type = struct _stat64;
int stat_of(const char * path, stat_type * out) { return _stat64(path, out); }
bool is_regular(const stat_type & info) { return (info.st_mode & _S_IFREG) != 0; }
int seek_to(std::FILE * file, uint64_t offset) { return _fseeki64(file, static_cast<int64_t>(offset), SEEK_SET); }
#else
using stat_type = struct stat;
int stat_of(const char * path, stat_type * out) { return stat(path, out); }
bool is_regular(const stat_type & info) { return S_ISREG(info.st_mode); }
int seek_to(std::FILE * file, uint64_t offset) { return fseeko(file, static_cast<off_t>(offset), SEEK_SET); }
#endif

}  // namespace

size_t gguf_memory_source::read_at(uint64_t offset, void * out, size_t length) {
    if (offset >= size_) {
        return 0;
    }
    const size_t count = std::min(length, size_ - static_cast<size_t>(offset));
    std::memcpy(out, data_ + offset, count);
    return count;
}

std::unique_ptr<gguf_file_source> gguf_file_source::open(const std::string & path, std::string & reason) {
    stat_type info;
    // Looked at before opening: opening a named pipe would wait for a writer.
    if (stat_of(path.c_str(), &info) != 0) {
        reason = std::strerror(errno);
        return nullptr;
    }
    if (!is_regular(info)) {
        reason = "not a regular file";
        return nullptr;
    }
    std::FILE * file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) {
        reason = std::strerror(errno);
        return nullptr;
    }
    std::setvbuf(file, nullptr, _IONBF, 0);  // gguf_reader buffers
    return std::unique_ptr<gguf_file_source>(new gguf_file_source(file, static_cast<uint64_t>(info.st_size)));
}

gguf_file_source::~gguf_file_source() { std::fclose(file_); }

size_t gguf_file_source::read_at(uint64_t offset, void * out, size_t length) {
    if (offset >= size_) {
        return 0;
    }
    if (position_ != offset && seek_to(file_, offset) != 0) {
        return 0;
    }
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(length, size_ - offset));
    const size_t count = std::fread(out, 1, wanted, file_);
    position_ = offset + count;
    return count;
}

}  // namespace rewardlens
