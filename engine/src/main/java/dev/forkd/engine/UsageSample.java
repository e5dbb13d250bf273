package dev.forkd.engine;

import java.time.Instant;

/** What a guest used at that time. */
public record UsageSample(Instant time, GuestUsage usage) {}
