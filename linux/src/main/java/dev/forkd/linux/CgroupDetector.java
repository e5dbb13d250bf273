package dev.forkd.linux;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * Finds out by trying where groups can be made. What {@code /proc} says is where to try; only a
 * group that was made, and has the file for the limit, counts.
 *
 * @see <a href="https://docs.kernel.org/admin-guide/cgroup-v2.html">cgroup v2</a>
 */
final class CgroupDetector {
  /** Our own leaf; not named like a sandbox, so no sweep takes it for one. */
  private static final String DAEMON_LEAF = "forkd.daemon";

  /**
   * A mounted hierarchy.
   *
   * @param root which group of the hierarchy the mount point shows
   */
  private record Mount(String root, Path point, String type, List<String> options) {}

  private final List<Mount> mounts;
  private final Map<String, String> ownGroups;
  private final List<String> reasons = new ArrayList<>();

  /** How to take back what was changed, the newest first. */
  private final Deque<Undo> changes = new ArrayDeque<>();

  private interface Undo {
    void run() throws IOException;
  }

  /**
   * @param mountInfo lines of {@code /proc/self/mountinfo}
   * @param groups lines of {@code /proc/self/cgroup}
   */
  CgroupDetector(List<String> mountInfo, List<String> groups) {
    this.mounts = mountInfo.stream().map(CgroupDetector::mount).flatMap(Optional::stream).toList();
    // "4:memory:/path" for version 1, "0::/path" for version 2. Several names share one line.
    this.ownGroups =
        groups.stream()
            .map(line -> line.split(":", 3))
            .filter(parts -> parts.length == 3)
            .flatMap(
                parts -> Arrays.stream(parts[1].split(",")).map(name -> Map.entry(name, parts[2])))
            .collect(
                Collectors.toMap(Map.Entry::getKey, Map.Entry::getValue, (first, second) -> first));
  }

  static CgroupSupport detect() {
    return ofThisProcess(CgroupDetector::find);
  }

  static CgroupSupport probe() {
    return ofThisProcess(CgroupDetector::findAndUndo);
  }

  private static CgroupSupport ofThisProcess(Function<CgroupDetector, CgroupSupport> how) {
    try {
      return how.apply(
          new CgroupDetector(
              Files.readAllLines(Path.of("/proc/self/mountinfo")),
              Files.readAllLines(Path.of("/proc/self/cgroup"))));
    } catch (IOException e) {
      return new CgroupSupport.None("/proc could not be read: " + e);
    }
  }

  /** What {@link #find} says, leaving the groups as they were. */
  CgroupSupport findAndUndo() {
    try {
      return find();
    } finally {
      undo(0);
    }
  }

  /** Takes changes back until so many are left. */
  private void undo(int left) {
    while (changes.size() > left) {
      try {
        changes.pop().run();
      } catch (IOException e) {
        // It is no longer ours alone: what came into the group since then needs it.
        System.getLogger(CgroupDetector.class.getName())
            .log(System.Logger.Level.DEBUG, "a cgroup stays as the probe left it", e);
      }
    }
  }

  CgroupSupport find() {
    return unified()
        .or(this::perController)
        .orElseGet(() ->
            new CgroupSupport.None(
                reasons.isEmpty()
                    ? "no cgroup file system with a memory controller is mounted"
                    : String.join("; ", reasons)
                        + "; run forkd as root, or have the group delegated"
                        + " (systemd-run --user --scope -p Delegate=yes ./forkd serve)"));
  }

  private Optional<CgroupSupport> unified() {
    for (Mount mount : mounts) {
      if (!mount.type().equals("cgroup2")) {
        continue;
      }
      Path own = place(mount, ownGroups.getOrDefault("", "/"));
      if (!words(own.resolve("cgroup.controllers")).contains("memory")) {
        reasons.add("the cgroup v2 group " + own + " has no memory controller");
        continue;
      }
      Optional<Path> parent = unifiedParent(mount.point(), own);
      if (parent.isPresent()) {
        return Optional.of(
            new CgroupSupport.V2(mount.point(), parent.get(), enable(parent.get(), "pids")));
      }
    }
    return Optional.empty();
  }

  /**
   * A v2 group that hands controllers down may hold no processes itself, and ours holds us. So:
   * ours, if that is allowed all the same (the root); else beside ours; else ours again, after
   * moving ourselves into a leaf, which works when we are alone in it.
   */
  private Optional<Path> unifiedParent(Path mountPoint, Path own) {
    if (enable(own, "memory") && canMake(own, "memory.max")) {
      return Optional.of(own);
    }
    Path above = own.getParent();
    if (!own.equals(mountPoint)
        && above != null
        && words(above.resolve("cgroup.subtree_control")).contains("memory")
        && Files.isWritable(above.resolve("cgroup.procs"))
        && canMake(above, "memory.max")) {
      return Optional.of(above);
    }
    Path leaf = own.resolve(DAEMON_LEAF);
    String self = Long.toString(ProcessHandle.current().pid());
    int before = changes.size();
    try {
      if (!Files.isDirectory(leaf)) {
        Files.createDirectory(leaf);
        changes.push(() -> Files.delete(leaf));
      }
      CgroupFiles.write(leaf.resolve("cgroup.procs"), self);
      changes.push(() -> CgroupFiles.write(own.resolve("cgroup.procs"), self));
      if (enable(own, "memory") && canMake(own, "memory.max")) {
        return Optional.of(own);
      }
      reasons.add("the cgroup v2 group " + own + " holds other processes");
    } catch (IOException e) {
      reasons.add("the cgroup v2 group " + own + " is not ours to divide (" + e + ")");
    }
    undo(before);
    return Optional.empty();
  }

  private Optional<CgroupSupport> perController() {
    return hierarchy("memory", "memory.limit_in_bytes")
        .map(memory -> new CgroupSupport.V1(memory, hierarchy("pids", "pids.max")));
  }

  private Optional<CgroupSupport.Hierarchy> hierarchy(String controller, String limitFile) {
    for (Mount mount : mounts) {
      if (mount.type().equals("cgroup") && mount.options().contains(controller)) {
        Path own = place(mount, ownGroups.getOrDefault(controller, "/"));
        if (canMake(own, limitFile)) {
          return Optional.of(new CgroupSupport.Hierarchy(mount.point(), own));
        }
      }
    }
    return Optional.empty();
  }

  /** Where a group is in the file system; in a container the mount may show only a part. */
  private static Path place(Mount mount, String group) {
    String below = group;
    if (!mount.root().equals("/")) {
      below = group.startsWith(mount.root()) ? group.substring(mount.root().length()) : "/";
    }
    Path place = Path.of(mount.point() + "/" + below).normalize();
    return place.startsWith(mount.point()) && Files.isDirectory(place) ? place : mount.point();
  }

  private boolean enable(Path group, String controller) {
    Path control = group.resolve("cgroup.subtree_control");
    if (words(control).contains(controller)) {
      return true;
    }
    try {
      CgroupFiles.write(control, "+" + controller);
      changes.push(() -> CgroupFiles.write(control, "-" + controller));
      return true;
    } catch (IOException e) {
      // Not allowed here; the next candidate may be better.
      return false;
    }
  }

  private boolean canMake(Path parent, String limitFile) {
    Path probe = parent.resolve("forkd.probe." + ProcessHandle.current().pid());
    try {
      Files.createDirectory(probe);
      try {
        if (Files.isWritable(probe.resolve(limitFile))) {
          return true;
        }
        reasons.add("a group below " + parent + " has no writable " + limitFile);
        return false;
      } finally {
        Files.delete(probe);
      }
    } catch (IOException e) {
      reasons.add("no group can be made below " + parent + " (" + e + ")");
      return false;
    }
  }

  private static List<String> words(Path file) {
    try {
      return List.of(CgroupFiles.read(file).split("\\s+"));
    } catch (IOException e) {
      // No such file, no such words.
      return List.of();
    }
  }

  /** {@code 36 35 98:0 /root /point rw,noatime shared:1 - type source options}. */
  private static Optional<Mount> mount(String line) {
    String[] halves = line.split(" - ", 2);
    if (halves.length < 2) {
      return Optional.empty();
    }
    String[] before = halves[0].split(" ");
    String[] after = halves[1].split(" ");
    if (before.length < 5 || after.length < 3 || !after[0].startsWith("cgroup")) {
      return Optional.empty();
    }
    return Optional.of(
        new Mount(
            before[3], Path.of(before[4]), after[0], List.of(after[after.length - 1].split(","))));
  }
}
