package dev.forkd.engine;

/** Counts at one moment. */
public record EngineStats(
    int snapshots, int sandboxes, int branchesInFlight, int branchConcurrencyCap) {}
