// Runs whose thread may be alive, for an orderly exit().
#pragma once

namespace rewardlens {

class scheduler;

// `exit()` does not close environments in order: without this, engine threads would compute on while the libraries they
// use are torn down. At exit every run still in the list is cancelled and joined.
void add_running(scheduler * run);
void remove_running(scheduler * run);

}  // namespace rewardlens
