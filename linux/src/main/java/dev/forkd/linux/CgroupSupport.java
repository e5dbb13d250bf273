package dev.forkd.linux;

import java.nio.file.Path;
import java.util.Optional;

/** Whether, and through which hierarchy, this process can limit the memory of others. */
public sealed interface CgroupSupport {
  /**
   * The unified hierarchy.
   *
   * @param mount where it is mounted
   * @param parent where new groups are made; its memory controller is on for them
   * @param pids whether the number of processes can be limited too
   */
  record V2(Path mount, Path parent, boolean pids) implements CgroupSupport {}

  /**
   * The old hierarchies, one per controller.
   *
   * @param memory the one for memory
   * @param pids the one for the number of processes, if it is there and writable
   */
  record V1(Hierarchy memory, Optional<Hierarchy> pids) implements CgroupSupport {}

  /**
   * Nothing can be limited.
   *
   * @param reason why, and what to do about it, fit for the user
   */
  record None(String reason) implements CgroupSupport {}

  /**
   * One hierarchy of cgroup v1.
   *
   * @param mount where it is mounted
   * @param parent where new groups are made: this process's own group
   */
  record Hierarchy(Path mount, Path parent) {}

  /** One line for people: what there is. */
  default String describe() {
    return switch (this) {
      case V2 v2 -> "cgroup v2 below " + v2.parent();
      case V1 v1 -> "cgroup v1 below " + v1.memory().parent();
      case None none -> "none: " + none.reason();
    };
  }
}
