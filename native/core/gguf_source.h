// Where the bytes of a GGUF come from: a file, or memory (tests and the fuzzer).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

namespace rewardlens {

/** Random-access bytes of known size. */
class gguf_source {
  public:
    virtual ~gguf_source() = default;
    /** Bytes in total. */
    virtual uint64_t size() const = 0;
    /** Copies up to `length` bytes from `offset` to `out`; returns how many, fewer only at the end or on an error. */
    virtual size_t read_at(uint64_t offset, void * out, size_t length) = 0;
};

/** Bytes in memory that the caller keeps alive. */
class gguf_memory_source : public gguf_source {
  public:
    gguf_memory_source(const void * data, size_t size) : data_(static_cast<const uint8_t *>(data)), size_(size) {}
    uint64_t size() const override { return size_; }
    size_t read_at(uint64_t offset, void * out, size_t length) override;

  private:
    const uint8_t * data_;
    size_t size_;
};

/** A file opened for reading. Its size is read once: bytes that vanish later count as missing. */
class gguf_file_source : public gguf_source {
  public:
    /** Opens a regular file. On failure returns null and puts the reason (errno text) into `reason`. */
    static std::unique_ptr<gguf_file_source> open(const std::string & path, std::string & reason);
    ~gguf_file_source() override;
    gguf_file_source(const gguf_file_source &) = delete;
    gguf_file_source & operator=(const gguf_file_source &) = delete;
    uint64_t size() const override { return size_; }
    size_t read_at(uint64_t offset, void * out, size_t length) override;

  private:
    gguf_file_source(std::FILE * file, uint64_t size) : file_(file), size_(size) {}

    std::FILE * file_;
    uint64_t size_;
    uint64_t position_ = 0;
};

}  // namespace rewardlens
