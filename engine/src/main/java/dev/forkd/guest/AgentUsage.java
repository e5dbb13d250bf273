package dev.forkd.guest;

/**
 * What a guest has used until now.
 *
 * @param cpuBusyMillis of all its CPUs together, since its template booted
 * @param uptimeMillis since then, without the times it was stopped
 */
public record AgentUsage(
    int cpuCount,
    long cpuBusyMillis,
    long uptimeMillis,
    long memoryTotalBytes,
    long memoryUsedBytes,
    long memoryCacheBytes,
    long diskTotalBytes,
    long diskUsedBytes) {}
