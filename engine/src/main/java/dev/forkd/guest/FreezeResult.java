package dev.forkd.guest;

/**
 * How a freeze went.
 *
 * @param frozen user processes stand still now
 * @param processes how many there are
 * @param micros it took inside the guest
 */
public record FreezeResult(boolean frozen, int processes, long micros) {}
