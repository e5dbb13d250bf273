package dev.forkd.linux;

import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.TreeMap;

/**
 * A group of processes with limits, in cgroup v2 or v1. It outlives the process that made it and is
 * found again by its name.
 *
 * <p>A page counts for whichever group touched it first: a child is charged for the pages of its
 * snapshot's memory image that no other process had touched yet.
 */
public final class Cgroup {
  /** A process that was killed leaves its group some milliseconds later. */
  private static final Duration DESTROY_PATIENCE = Duration.ofSeconds(3);

  private static final Duration DESTROY_PAUSE = Duration.ofMillis(10);

  /** How deep groups are looked for, and how many folders are looked at. */
  private static final int SEARCH_DEPTH = 10;

  private static final int SEARCH_FOLDERS = 20_000;

  /**
   * Runs a command inside groups: writes its own pid into each file up to {@code --}, then becomes
   * the command, so that not one page is charged elsewhere.
   */
  private static final String PLACE =
      "while [ \"$1\" != -- ]; do echo $$ > \"$1\" || exit 125; shift; done; shift; exec \"$@\"";

  private final String name;
  private final List<Path> folders;
  private final boolean unified;

  /**
   * @param folders one per hierarchy, memory's first
   */
  private Cgroup(String name, List<Path> folders, boolean unified) {
    this.name = name;
    this.folders = List.copyOf(folders);
    this.unified = unified;
  }

  /**
   * What this process can do. On v2 this may move the process into a leaf of its own group, so call
   * it once and keep the answer.
   */
  public static CgroupSupport detect() {
    return CgroupDetector.detect();
  }

  /** What {@link #detect} would answer a process started from here; all stays as it is. */
  public static CgroupSupport probe() {
    return CgroupDetector.probe();
  }

  /**
   * Makes a group.
   *
   * @param name unique on the host; a single path segment
   * @param memoryLimitBytes swap included; a process that needs more is killed by the kernel
   * @param pidsLimit most processes and threads; ignored where the host cannot limit them
   * @throws IOException where {@code support} is none, with its reason, or when the kernel refuses
   */
  public static Cgroup create(
      CgroupSupport support, String name, OptionalLong memoryLimitBytes, OptionalInt pidsLimit)
      throws IOException {
    List<Path> parents = new ArrayList<>();
    boolean unified = false;
    boolean canLimitPids = false;
    switch (support) {
      case CgroupSupport.V2 v2 -> {
        parents.add(v2.parent());
        unified = true;
        canLimitPids = v2.pids();
      }
      case CgroupSupport.V1 v1 -> {
        parents.add(v1.memory().parent());
        if (pidsLimit.isPresent()) {
          v1.pids().map(CgroupSupport.Hierarchy::parent).ifPresent(parents::add);
        }
        canLimitPids = parents.size() > 1;
      }
      case CgroupSupport.None none ->
          throw new IOException(
              "group '" + name + "' cannot be made, limits are not possible: " + none.reason());
    }
    Cgroup group =
        new Cgroup(name, parents.stream().map(parent -> parent.resolve(name)).toList(), unified);
    try {
      for (Path folder : group.folders) {
        Files.createDirectory(folder);
      }
      if (memoryLimitBytes.isPresent()) {
        group.limitMemory(memoryLimitBytes.getAsLong());
      }
      if (pidsLimit.isPresent() && canLimitPids) {
        CgroupFiles.write(
            group.folders.getLast().resolve("pids.max"), Integer.toString(pidsLimit.getAsInt()));
      }
      return group;
    } catch (IOException e) {
      for (Path folder : group.folders) {
        try {
          Files.deleteIfExists(folder);
        } catch (IOException suppressed) {
          e.addSuppressed(suppressed);
        }
      }
      throw e;
    }
  }

  private void limitMemory(long bytes) throws IOException {
    Path memory = folders.getFirst();
    if (unified) {
      CgroupFiles.write(memory.resolve("memory.max"), Long.toString(bytes));
      writeIfThere(memory.resolve("memory.swap.max"), "0");
      writeIfThere(memory.resolve("memory.oom.group"), "1");
      return;
    }
    CgroupFiles.write(memory.resolve("memory.limit_in_bytes"), Long.toString(bytes));
    // Memory and swap together; not there when the kernel does not count swap.
    writeIfThere(memory.resolve("memory.memsw.limit_in_bytes"), Long.toString(bytes));
  }

  private static void writeIfThere(Path file, String value) throws IOException {
    if (Files.exists(file)) {
      CgroupFiles.write(file, value);
    }
  }

  /** The group of this name, wherever an earlier process made it. */
  public static Optional<Cgroup> find(CgroupSupport support, String name) throws IOException {
    return listOwned(support, name).stream().filter(group -> group.name.equals(name)).findFirst();
  }

  /**
   * All groups whose names begin with {@code prefix}, sorted by name. The whole hierarchy is looked
   * through: an earlier daemon may have run in another group than this one.
   */
  public static List<Cgroup> listOwned(CgroupSupport support, String prefix) throws IOException {
    List<Path> mounts =
        switch (support) {
          case CgroupSupport.V2 v2 -> List.of(v2.mount());
          case CgroupSupport.V1 v1 -> {
            List<Path> both = new ArrayList<>(List.of(v1.memory().mount()));
            v1.pids().map(CgroupSupport.Hierarchy::mount).ifPresent(both::add);
            yield both;
          }
          case CgroupSupport.None none -> List.of();
        };
    Map<String, List<Path>> found = new TreeMap<>();
    for (Path mount : mounts) {
      collect(mount, prefix, SEARCH_DEPTH, new int[] {SEARCH_FOLDERS}, found);
    }
    boolean unified = support instanceof CgroupSupport.V2;
    return found.entrySet().stream()
        .map(entry -> new Cgroup(entry.getKey(), entry.getValue(), unified))
        .toList();
  }

  private static void collect(
      Path folder, String prefix, int depth, int[] foldersLeft, Map<String, List<Path>> found)
      throws IOException {
    try (DirectoryStream<Path> entries =
        Files.newDirectoryStream(
            folder, entry -> Files.isDirectory(entry, LinkOption.NOFOLLOW_LINKS))) {
      for (Path entry : entries) {
        String name = String.valueOf(entry.getFileName());
        if (name.startsWith(prefix)) {
          found.computeIfAbsent(name, key -> new ArrayList<>()).add(entry);
        } else if (depth > 1 && foldersLeft[0]-- > 0) {
          collect(entry, prefix, depth - 1, foldersLeft, found);
        }
      }
    } catch (NoSuchFileException e) {
      // Someone else's group that went away while we looked.
      return;
    } catch (DirectoryIteratorException e) {
      throw e.getCause();
    }
  }

  public String name() {
    return name;
  }

  /** The files a process writes its pid to in order to enter; {@code 0} means the writer. */
  public List<Path> procsFiles() {
    return folders.stream().map(folder -> folder.resolve("cgroup.procs")).toList();
  }

  /**
   * The command that runs {@code command} inside this group from its first instruction on. It ends
   * with status 125 when the group cannot be entered. Costs one {@code sh} start, about 1 ms.
   */
  public List<String> wrap(List<String> command) {
    List<String> wrapped = new ArrayList<>(List.of("/bin/sh", "-c", PLACE, "forkd-place"));
    procsFiles().forEach(file -> wrapped.add(file.toString()));
    wrapped.add("--");
    wrapped.addAll(command);
    return List.copyOf(wrapped);
  }

  /** Moves a running process in; what it has touched so far stays charged to its old group. */
  public void add(long pid) throws IOException {
    for (Path file : procsFiles()) {
      CgroupFiles.write(file, Long.toString(pid));
    }
  }

  /**
   * Moves a running process to the group this process is in: one that was copied from another is
   * born into the group of that one, whose limits are none of its business.
   */
  public static void moveHere(CgroupSupport support, long pid) throws IOException {
    List<Path> folders =
        switch (support) {
          case CgroupSupport.V1 v1 -> {
            List<Path> own = new ArrayList<>(List.of(v1.memory().parent()));
            v1.pids().map(CgroupSupport.Hierarchy::parent).ifPresent(own::add);
            yield own;
          }
          case CgroupSupport.V2 v2 -> List.of(own(v2));
          case CgroupSupport.None _ -> List.of();
        };
    for (Path folder : folders) {
      CgroupFiles.write(folder.resolve("cgroup.procs"), Long.toString(pid));
    }
  }

  /** This process is in the parent of new groups, or in a leaf of it. */
  private static Path own(CgroupSupport.V2 v2) throws IOException {
    for (String line : Files.readAllLines(Path.of("/proc/self/cgroup"))) {
      if (line.startsWith("0::")) {
        Path leaf = v2.parent().resolve(line.substring(line.lastIndexOf('/') + 1));
        return Files.isDirectory(leaf) ? leaf : v2.parent();
      }
    }
    return v2.parent();
  }

  /** Who is in it. */
  public List<Long> processes() throws IOException {
    List<Long> pids = new ArrayList<>();
    for (Path file : procsFiles()) {
      CgroupFiles.read(file)
          .lines()
          .map(Long::valueOf)
          .filter(pid -> !pids.contains(pid))
          .forEach(pids::add);
    }
    return List.copyOf(pids);
  }

  /** Memory charged to the group now, page cache included. */
  public long memoryCurrentBytes() throws IOException {
    return Long.parseLong(
        CgroupFiles.read(
            folders.getFirst().resolve(unified ? "memory.current" : "memory.usage_in_bytes")));
  }

  /** How many processes of the group the kernel has killed for want of memory. */
  public long oomKills() throws IOException {
    Path events = folders.getFirst().resolve(unified ? "memory.events" : "memory.oom_control");
    for (String line : CgroupFiles.read(events).split("\n")) {
      String[] words = line.split(" ");
      if (words.length == 2 && words[0].equals("oom_kill")) {
        return Long.parseLong(words[1]);
      }
    }
    return 0;
  }

  /**
   * Removes the group; kills nothing. Waits a few seconds for processes that are on their way out.
   * A group that is gone already is no error.
   *
   * @throws IOException naming the processes when some are still in it
   */
  public void destroy() throws IOException {
    long deadlineNanos = System.nanoTime() + DESTROY_PATIENCE.toNanos();
    for (Path folder : folders) {
      while (true) {
        try {
          Files.deleteIfExists(folder);
          break;
        } catch (IOException e) {
          if (System.nanoTime() >= deadlineNanos) {
            throw new IOException(
                "group " + folder + " cannot be removed, processes in it: " + processes(), e);
          }
        }
        try {
          Thread.sleep(DESTROY_PAUSE);
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
          throw new IOException("removing group " + folder + " was interrupted", e);
        }
      }
    }
  }

  @Override
  public String toString() {
    return folders.toString();
  }
}
