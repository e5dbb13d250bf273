package dev.forkd.engine;

/** Names one process of {@link GuestProcesses}. */
public sealed interface ProcessRef {
  /** By the guest's process id. */
  record Pid(int pid) implements ProcessRef {}

  /** By its label; the youngest that has it. */
  record Labelled(String label) implements ProcessRef {}
}
