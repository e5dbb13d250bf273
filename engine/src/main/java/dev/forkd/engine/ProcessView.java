package dev.forkd.engine;

/** A process of {@link GuestProcesses} that lives, and as what it was started. */
public record ProcessView(int pid, ProcessSpec spec) {}
