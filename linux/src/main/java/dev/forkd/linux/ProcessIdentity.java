package dev.forkd.linux;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;

/**
 * A process that cannot be mistaken for a later one with the same pid.
 *
 * @param startTicks its start in clock ticks since boot, field 22 of {@code /proc/PID/stat}; 0 when
 *     it was gone already. After a reboot the count starts again, so a pair that was stored may in
 *     theory match another process: whoever stored it needs a second proof, such as the name.
 * @see <a href="https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html">proc_pid_stat(5)</a>
 */
public record ProcessIdentity(long pid, long startTicks) {
  private static final Path PROC = Path.of("/proc");
  private static final Duration END_PAUSE = Duration.ofMillis(2);

  /** Fields of {@code /proc/PID/stat} after the name, counted from its field 3. */
  private static final int STATE = 0;

  private static final int THREADS = 17;
  private static final int START_TICKS = 19;

  /** The identity of the process that has this pid now. */
  public static ProcessIdentity of(long pid) {
    return new ProcessIdentity(
        pid, stat(pid).map(fields -> Long.parseLong(fields[START_TICKS])).orElse(0L));
  }

  /** This process. */
  public static ProcessIdentity self() {
    return of(ProcessHandle.current().pid());
  }

  /**
   * Whether this very process still runs; a zombie does not. A process whose first thread has ended
   * runs as long as another one does, and holds its memory and files until then.
   */
  public boolean isAlive() {
    return startTicks != 0
        && stat(pid)
            .filter(fields -> !isDead(fields))
            .filter(fields -> Long.parseLong(fields[START_TICKS]) == startTicks)
            .isPresent();
  }

  /**
   * Whether its first thread runs. That of a killed process has ended even while the process is
   * traced and the tracer has not heard of the other threads' ends, which keeps it from ending.
   */
  public boolean firstThreadIsAlive() {
    return stat(pid)
        .filter(fields -> !fields[STATE].equals("Z") && !fields[STATE].equals("X"))
        .filter(fields -> Long.parseLong(fields[START_TICKS]) == startTicks)
        .isPresent();
  }

  public boolean sameAs(ProcessIdentity other) {
    return equals(other);
  }

  /** The name the kernel shows, at most 15 bytes; empty once the process is gone. */
  public Optional<String> commandName() {
    if (!isAlive()) {
      return Optional.empty();
    }
    return read(PROC.resolve(pid + "/comm")).map(String::strip);
  }

  /** The arguments it was started with; empty once it is gone, or when it has none to show. */
  public List<String> arguments() {
    return isAlive() ? argumentsOf(pid) : List.of();
  }

  /**
   * Sends SIGTERM, or with {@code force} SIGKILL, if this very process still runs.
   *
   * @return whether there was one to signal
   */
  public boolean signal(boolean force) {
    if (!isAlive()) {
      return false;
    }
    return ProcessHandle.of(pid)
        .map(handle -> force ? handle.destroyForcibly() : handle.destroy())
        .orElse(false);
  }

  /**
   * Waits until it has ended. Unlike {@link ProcessHandle#onExit}, which looks at a process that is
   * no child of ours every 0.3 to 5 s, this returns within milliseconds for any process.
   *
   * @return whether it ended within {@code timeout}
   */
  public boolean awaitEnd(Duration timeout) throws InterruptedException {
    long deadlineNanos = System.nanoTime() + timeout.toNanos();
    while (isAlive()) {
      if (System.nanoTime() >= deadlineNanos) {
        return false;
      }
      Thread.sleep(END_PAUSE);
    }
    return true;
  }

  /** All processes whose arguments satisfy {@code test}, in order of pid. */
  public static List<ProcessIdentity> matching(Predicate<List<String>> test) throws IOException {
    List<ProcessIdentity> found = new ArrayList<>();
    try (DirectoryStream<Path> entries = Files.newDirectoryStream(PROC, "[0-9]*")) {
      for (Path entry : entries) {
        long pid = Long.parseLong(String.valueOf(entry.getFileName()));
        List<String> arguments = argumentsOf(pid);
        ProcessIdentity process = of(pid);
        if (!arguments.isEmpty() && test.test(arguments) && process.isAlive()) {
          found.add(process);
        }
      }
    } catch (DirectoryIteratorException e) {
      throw e.getCause();
    }
    found.sort(java.util.Comparator.comparingLong(ProcessIdentity::pid));
    return List.copyOf(found);
  }

  /**
   * Monitors that belong to a data directory: one argument is {@code namePrefix} followed by an id
   * (or contains it as a word), and one lies in one of {@code folders}. Both together keep the
   * sandboxes of another data directory on the same host safe.
   */
  public static List<Owned> owned(String namePrefix, List<Path> folders) throws IOException {
    List<Owned> found = new ArrayList<>();
    for (ProcessIdentity process : matching(arguments -> mentions(arguments, folders))) {
      nameIn(process.arguments(), namePrefix).ifPresent(id -> found.add(new Owned(process, id)));
    }
    return List.copyOf(found);
  }

  /**
   * A process with the id in its name.
   *
   * @param id what follows the prefix
   */
  public record Owned(ProcessIdentity process, String id) {}

  private static Optional<String> nameIn(List<String> arguments, String prefix) {
    for (String argument : arguments) {
      for (String word : argument.split("[,=\\s]")) {
        if (word.length() > prefix.length()
            && word.startsWith(prefix)
            && word.chars().skip(prefix.length()).allMatch(ProcessIdentity::isIdCharacter)) {
          return Optional.of(word.substring(prefix.length()));
        }
      }
    }
    return Optional.empty();
  }

  private static boolean isIdCharacter(int c) {
    return Character.isLetterOrDigit(c) || c == '-' || c == '_';
  }

  private static boolean mentions(List<String> arguments, List<Path> folders) {
    for (Path folder : folders) {
      String inside = folder + "/";
      for (String argument : arguments) {
        if (argument.contains(inside)) {
          return true;
        }
      }
    }
    return false;
  }

  private static List<String> argumentsOf(long pid) {
    return read(PROC.resolve(pid + "/cmdline"))
        .filter(line -> !line.isEmpty())
        .map(line -> List.of(line.split("\0")))
        .orElse(List.of());
  }

  private static boolean isDead(String[] stat) {
    return stat[STATE].equals("X")
        || (stat[STATE].equals("Z") && Integer.parseInt(stat[THREADS]) <= 1);
  }

  /** The fields after the name, which may itself contain spaces and parentheses. */
  private static Optional<String[]> stat(long pid) {
    return read(PROC.resolve(pid + "/stat"))
        .map(line -> line.substring(line.lastIndexOf(')') + 2).split(" "))
        .filter(fields -> fields.length > START_TICKS);
  }

  private static Optional<String> read(Path file) {
    try {
      return Optional.of(new String(Files.readAllBytes(file), StandardCharsets.UTF_8));
    } catch (IOException e) {
      // The process ended, before or while we looked.
      return Optional.empty();
    }
  }
}
