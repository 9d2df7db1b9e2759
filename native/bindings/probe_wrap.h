// The probe trainer as JavaScript holds it, and the functions on trained probes.
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>

#include "probe_trainer.h"

namespace rewardlens {

class probe_wrap : public Napi::ObjectWrap<probe_wrap> {
  public:
    static Napi::Function define(Napi::Env env);
    explicit probe_wrap(const Napi::CallbackInfo & info);  // (params)

  private:
    // Shared with the work in flight; `busy` guards against a second call meanwhile.
    struct holder {
        probe_trainer trainer;
        std::atomic<bool> busy{false};
        explicit holder(trainer_params params) : trainer(std::move(params)) {}
    };

    Napi::Value step(const Napi::CallbackInfo & info);     // (rows, lengths, rewards) → losses
    Napi::Value loss(const Napi::CallbackInfo & info);     // the same without an update
    Napi::Value predict(const Napi::CallbackInfo & info);  // (rows, count) → values
    Napi::Value weights(const Napi::CallbackInfo & info);  // (probe)
    Napi::Value set_weights(const Napi::CallbackInfo & info);
    Napi::Value release(const Napi::CallbackInfo & info);

    Napi::Value run_step(const Napi::CallbackInfo & info, bool update);
    // The trainer, marked as busy until the returned pointer and its copies are gone. Throws DISPOSED, BUSY.
    std::shared_ptr<holder> take();

    std::shared_ptr<holder> holder_;
};

// ({inputs, hidden, head, weights}, x, rows, sets | permutation, threads) → promise of Float32Array
Napi::Value probe_predict_sets(const Napi::CallbackInfo & info);
Napi::Value probe_predict_permuted(const Napi::CallbackInfo & info);

}  // namespace rewardlens
