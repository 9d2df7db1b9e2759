/** Public surface of rewardlens. */
export {};
