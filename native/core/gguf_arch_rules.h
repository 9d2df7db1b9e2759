// Rules about hyper-parameters that only some architectures have.
#pragma once

#include <string>

#include "gguf_metadata.h"

namespace rewardlens {

/**
 * What the loaders and graph builders of single architectures assert or divide by (the files of src/models, v0.5.0), as far as
 * a header can tell. Not complete, and cannot be: the isolated load finds the rest. Throws `corrupt`.
 */
void check_gguf_architecture_rules(const gguf_metadata & metadata, const std::string & arch, int64_t layers,
                                   int64_t width);

}  // namespace rewardlens
