package dev.forkd.branch;

import java.util.OptionalLong;

/**
 * What a branch cost, as measured.
 *
 * @param pauseMillis from the stop to the resume, rounded up
 * @param freezeMillis to freeze user processes before that
 * @param diffMillis to find and copy the diverged pages
 * @param diffPhysicalBytes of diverged pages
 */
record BranchTimes(
    long pauseMillis, long freezeMillis, OptionalLong diffMillis, OptionalLong diffPhysicalBytes) {
  static BranchTimes none() {
    return new BranchTimes(0, 0, OptionalLong.empty(), OptionalLong.empty());
  }
}
