#include "gguf_reader.h"

#include <algorithm>
#include <cstring>

namespace rewardlens {

namespace {

constexpr size_t buffer_bytes = 256 * 1024;

}  // namespace

gguf_reader::gguf_reader(gguf_source & source) : source_(source) {}

void gguf_reader::require(uint64_t length, const char * what) const {
    if (length > remaining()) {
        throw gguf_failure(gguf_check_kind::truncated,
                           "the file ends too early: " + std::string(what) + " at byte " + std::to_string(position_) +
                               " needs " + std::to_string(length) + " bytes, but only " + std::to_string(remaining()) +
                               " are left (file size " + std::to_string(source_.size()) + ")");
    }
}

void gguf_reader::read_bytes(void * out, size_t length, const char * what) {
    require(length, what);
    auto * target = static_cast<uint8_t *>(out);
    while (length > 0) {
        const uint64_t buffered_end = buffer_start_ + buffer_.size();
        if (position_ < buffer_start_ || position_ >= buffered_end) {
            buffer_.resize(static_cast<size_t>(std::min<uint64_t>(buffer_bytes, remaining())));
            const size_t got = source_.read_at(position_, buffer_.data(), buffer_.size());
            buffer_.resize(got);
            buffer_start_ = position_;
            if (got == 0) {
                throw gguf_failure(gguf_check_kind::io, "cannot read " + std::string(what) + " at byte " +
                                                            std::to_string(position_));
            }
            continue;
        }
        const size_t count = static_cast<size_t>(std::min<uint64_t>(length, buffered_end - position_));
        std::memcpy(target, buffer_.data() + (position_ - buffer_start_), count);
        target += count;
        length -= count;
        position_ += count;
    }
}

std::string gguf_reader::read_string(uint64_t limit, const char * what) {
    const auto length = read<uint64_t>(what);
    if (length > limit) {
        throw gguf_failure(gguf_check_kind::corrupt, std::string(what) + " at byte " + std::to_string(position_ - 8) +
                                                         " claims " + std::to_string(length) +
                                                         " bytes; the limit is " + std::to_string(limit));
    }
    require(length, what);  // before allocating: a corrupt length must not cost memory
    std::string text(static_cast<size_t>(length), '\0');
    read_bytes(text.data(), text.size(), what);
    return text;
}

void gguf_reader::skip(uint64_t length, const char * what) {
    require(length, what);
    position_ += length;
}

void gguf_reader::seek(uint64_t offset, const char * what) {
    if (offset > source_.size()) {
        throw gguf_failure(gguf_check_kind::truncated, "the file ends too early: " + std::string(what) +
                                                           " starts at byte " + std::to_string(offset) +
                                                           ", the file has " + std::to_string(source_.size()));
    }
    position_ = offset;
}

}  // namespace rewardlens
