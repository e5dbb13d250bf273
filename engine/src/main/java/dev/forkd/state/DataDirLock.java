package dev.forkd.state;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.ProcessIdentity;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The right to change a data directory; one process has it. The kernel drops it when that process
 * ends, however it ends. The file says who holds it; its words alone prove nothing.
 *
 * <p>Java locks with fcntl(2), and closing <em>any</em> descriptor of the file drops all such locks
 * of a process. So no other code may open the file in a process that holds it, and this class
 * itself looks into {@link #HELD_HERE} before it opens.
 */
public final class DataDirLock implements AutoCloseable {
  private static final Duration POLL_INTERVAL = Duration.ofMillis(50);
  private static final Pattern OWNER = Pattern.compile("pid=(\\d{1,10}) start_ticks=(\\d{1,18})\n");
  private static final Set<Path> HELD_HERE = ConcurrentHashMap.newKeySet();

  private final Path file;
  private final FileChannel channel;

  private DataDirLock(Path file, FileChannel channel) {
    this.file = file;
    this.channel = channel;
  }

  /**
   * Takes the lock.
   *
   * @throws ForkdException FAILED_PRECONDITION, naming the owner, when another process has it
   */
  public static DataDirLock acquire(DataDir dir) {
    return acquire(dir, Duration.ZERO);
  }

  /** Takes the lock, waiting up to {@code patience} for its owner to go. */
  public static DataDirLock acquire(DataDir dir, Duration patience) {
    long deadlineNanos = System.nanoTime() + patience.toNanos();
    while (true) {
      Optional<DataDirLock> lock = tryAcquire(dir);
      if (lock.isPresent()) {
        return lock.get();
      }
      if (System.nanoTime() >= deadlineNanos) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION,
            "data directory "
                + dir.root()
                + " is in use by "
                + owner(dir).map(DataDirLock::describe).orElse("another process")
                + "; stop it, or choose another one with --data-dir or FORKD_DATA_DIR");
      }
      try {
        Thread.sleep(POLL_INTERVAL);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new ForkdException(
            ErrorCode.CANCELLED, "waiting for data directory " + dir.root() + " was cancelled", e);
      }
    }
  }

  /** Takes the lock; empty when someone has it, be it this very process. */
  public static Optional<DataDirLock> tryAcquire(DataDir dir) {
    Path file = dir.lockFile();
    if (!HELD_HERE.add(file)) {
      return Optional.empty();
    }
    boolean taken = false;
    try {
      FileChannel channel =
          FileChannel.open(
              file,
              Set.of(StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE),
              PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
      try {
        taken = channel.tryLock() != null;
        if (taken) {
          ProcessIdentity self = ProcessIdentity.self();
          String words = "pid=" + self.pid() + " start_ticks=" + self.startTicks() + "\n";
          channel.truncate(0);
          channel.write(ByteBuffer.wrap(words.getBytes(StandardCharsets.UTF_8)), 0);
          return Optional.of(new DataDirLock(file, channel));
        }
        return Optional.empty();
      } finally {
        if (!taken) {
          channel.close();
        }
      }
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.PERMISSION_DENIED,
          "lock " + file + " cannot be used: " + e + "; check its owner, mode and file system",
          e);
    } finally {
      if (!taken) {
        HELD_HERE.remove(file);
      }
    }
  }

  /** Who holds the lock, as far as its file says and that process still lives. */
  public static Optional<ProcessIdentity> owner(DataDir dir) {
    if (HELD_HERE.contains(dir.lockFile())) {
      return Optional.of(ProcessIdentity.self());
    }
    try {
      Matcher words = OWNER.matcher(Files.readString(dir.lockFile()));
      if (!words.matches()) {
        return Optional.empty();
      }
      return Optional.of(
              new ProcessIdentity(Long.parseLong(words.group(1)), Long.parseLong(words.group(2))))
          .filter(ProcessIdentity::isAlive);
    } catch (IOException e) {
      // No file, or none we may read: then we do not know.
      return Optional.empty();
    }
  }

  private static String describe(ProcessIdentity owner) {
    return "process " + owner.pid() + owner.commandName().map(name -> " (" + name + ")").orElse("");
  }

  /** Gives the lock up; idempotent. */
  @Override
  public void close() {
    try {
      channel.close();
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "lock " + file + " was not released", e);
    } finally {
      HELD_HERE.remove(file);
    }
  }
}
