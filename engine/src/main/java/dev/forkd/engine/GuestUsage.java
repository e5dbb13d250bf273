package dev.forkd.engine;

/**
 * What a guest uses at one moment.
 *
 * @param cpuPercent of all its CPUs together since it was asked last; 0 the first time
 */
public record GuestUsage(
    int cpuCount,
    double cpuPercent,
    long memoryTotalBytes,
    long memoryUsedBytes,
    long memoryCacheBytes,
    long diskTotalBytes,
    long diskUsedBytes) {}
