// A forward cursor over a gguf_source that never reads past the end and never allocates more than the file holds.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "gguf_source.h"

namespace rewardlens {

/** What is wrong with a model file; the names are those of `gguf_check_kind_name`. */
enum class gguf_check_kind {
    ok,
    not_gguf,             // no GGUF magic
    truncated,            // something the header promises lies behind the end of the file
    corrupt,              // contradicts itself or the format, or has values that llama.cpp would abort on
    unsupported_version,  // a GGUF version, byte order or tensor type that this llama.cpp does not read
    unsupported_arch,     // general.architecture is not one of this llama.cpp
    missing_split,        // a part of a split model is not there, or the wrong part was named
    io,                   // cannot be opened or read
};

/** A finding inside the checker; `gguf_check` turns it into a result and lets nothing escape. */
class gguf_failure : public std::runtime_error {
  public:
    gguf_failure(gguf_check_kind kind, const std::string & message) : std::runtime_error(message), kind_(kind) {}
    gguf_check_kind kind() const { return kind_; }

  private:
    gguf_check_kind kind_;
};

/** Sequential little-endian reads with one buffer. Every `what` names the thing read, for the message. */
class gguf_reader {
  public:
    explicit gguf_reader(gguf_source & source);

    uint64_t position() const { return position_; }
    uint64_t remaining() const { return source_.size() - position_; }

    /** A scalar of 1 to 8 bytes. Throws `truncated`. */
    template <typename T>
    T read(const char * what) {
        T value;
        read_bytes(&value, sizeof(T), what);
        return value;
    }

    /** A length-prefixed string of at most `limit` bytes. Throws `truncated`, or `corrupt` above the limit. */
    std::string read_string(uint64_t limit, const char * what);

    /** Moves on by `length` bytes. Throws `truncated`. */
    void skip(uint64_t length, const char * what);

    /** Moves to an absolute offset, which must not lie behind the end. Throws `truncated`. */
    void seek(uint64_t offset, const char * what);

    /** Throws `truncated` unless `length` more bytes exist. */
    void require(uint64_t length, const char * what) const;

  private:
    void read_bytes(void * out, size_t length, const char * what);

    gguf_source & source_;
    uint64_t position_ = 0;
    uint64_t buffer_start_ = 0;
    std::vector<uint8_t> buffer_;
};

}  // namespace rewardlens
