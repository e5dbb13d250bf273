package dev.forkd.memory;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.Collectors;

/**
 * Which image files were seen to hold what their content hash says. A verdict counts as long as the
 * file's inode, size and times are those it had then, and until the host boots again: what a disk
 * gives back after a power cut is looked at once more.
 *
 * <p>Kept in one small text file, a line for each verdict, so that the next daemon need not hash
 * again. It is only a memory: whatever is missing from it or cannot be read is hashed again, so it
 * is appended to without a flush.
 *
 * <p>Thread-safe.
 */
public final class Verdicts {
  private static final Path BOOT_ID = Path.of("/proc/sys/kernel/random/boot_id");
  private static final System.Logger LOG = System.getLogger(Verdicts.class.getName());

  /** Lines of images that are gone by now, after which the file is written anew. */
  private static final int MAX_STALE_LINES = 4096;

  private final Path file;
  private final String boot;
  private final Map<String, Verdict> byId = new HashMap<>();
  private final ReentrantLock lock = new ReentrantLock();
  private int lines;

  /** What tells one state of a file from any other. */
  public record Stamp(long inode, long sizeBytes, long modifiedNanos, long changedNanos) {
    /** Of a file as it is now. */
    public static Stamp of(Path file) throws IOException {
      Map<String, Object> attributes =
          Files.readAttributes(file, "unix:ino,size,lastModifiedTime,ctime");
      return new Stamp(
          number(attributes, "ino"),
          number(attributes, "size"),
          number(attributes, "lastModifiedTime"),
          number(attributes, "ctime"));
    }

    private static long number(Map<String, Object> attributes, String name) throws IOException {
      return switch (attributes.get(name)) {
        case Number number -> number.longValue();
        case FileTime time -> time.to(TimeUnit.NANOSECONDS);
        case null, default -> throw new IOException("the file system tells no " + name);
      };
    }
  }

  private record Verdict(String contentHash, Stamp stamp) {
    String line(String boot, String id) {
      return String.join(
              " ",
              boot,
              id,
              contentHash,
              Long.toString(stamp.inode),
              Long.toString(stamp.sizeBytes),
              Long.toString(stamp.modifiedNanos),
              Long.toString(stamp.changedNanos))
          + "\n";
    }
  }

  /**
   * @param file where verdicts are kept; need not be there
   */
  public Verdicts(Path file) {
    this(file, bootId());
  }

  Verdicts(Path file, String boot) {
    this.file = file;
    this.boot = boot;
    load();
  }

  private static String bootId() {
    try {
      return Files.readString(BOOT_ID).strip();
    } catch (IOException e) {
      return ""; // no line can begin with it: nothing is known
    }
  }

  private void load() {
    try {
      if (Files.exists(file)) {
        // A line cut short by a crash is no line, and may not be UTF-8 either.
        for (String line : Files.readAllLines(file, StandardCharsets.ISO_8859_1)) {
          lines++;
          read(line);
        }
      }
    } catch (IOException e) {
      LOG.log(System.Logger.Level.WARNING, "images are hashed again: {0}", e.toString());
    }
  }

  private void read(String line) {
    String[] fields = line.split(" ", -1);
    if (fields.length != 7 || boot.isEmpty() || !fields[0].equals(boot)) {
      return;
    }
    try {
      byId.put(
          fields[1],
          new Verdict(
              fields[2],
              new Stamp(
                  Long.parseLong(fields[3]),
                  Long.parseLong(fields[4]),
                  Long.parseLong(fields[5]),
                  Long.parseLong(fields[6]))));
    } catch (NumberFormatException e) {
      return; // damaged: hashed again
    }
  }

  /** Whether the file was seen to match this hash in this very state. */
  public boolean known(String id, String contentHash, Stamp stamp) {
    lock.lock();
    try {
      return Optional.of(new Verdict(contentHash, stamp)).equals(Optional.ofNullable(byId.get(id)));
    } finally {
      lock.unlock();
    }
  }

  /** The hash that the file in this very state was seen to have. */
  public Optional<String> hash(String id, Stamp stamp) {
    lock.lock();
    try {
      return Optional.ofNullable(byId.get(id))
          .filter(verdict -> verdict.stamp.equals(stamp))
          .map(Verdict::contentHash);
    } finally {
      lock.unlock();
    }
  }

  /** The file was just seen to match this hash, or was written with it. */
  public void remember(String id, String contentHash, Stamp stamp) {
    Verdict verdict = new Verdict(contentHash, stamp);
    lock.lock();
    try {
      byId.put(id, verdict);
      lines++;
      if (lines > byId.size() + MAX_STALE_LINES) {
        rewrite();
      } else if (!boot.isEmpty()) {
        Files.writeString(
            file,
            verdict.line(boot, id),
            StandardOpenOption.CREATE,
            StandardOpenOption.WRITE,
            StandardOpenOption.APPEND);
      }
    } catch (IOException e) {
      LOG.log(System.Logger.Level.WARNING, "the next daemon hashes again: {0}", e.toString());
    } finally {
      lock.unlock();
    }
  }

  /** The file is gone. */
  public void forget(String id) {
    lock.lock();
    try {
      byId.remove(id);
    } finally {
      lock.unlock();
    }
  }

  /** Leaves only these images in the file. */
  public void keep(List<String> ids) {
    lock.lock();
    try {
      byId.keySet().retainAll(ids);
      if (lines != byId.size()) {
        rewrite();
      }
    } catch (IOException e) {
      LOG.log(System.Logger.Level.WARNING, "stale lines stay in {0}: {1}", file, e.toString());
    } finally {
      lock.unlock();
    }
  }

  private void rewrite() throws IOException {
    Path fresh = file.resolveSibling(file.getFileName() + ".new");
    Files.writeString(
        fresh,
        byId.entrySet().stream()
            .map(entry -> entry.getValue().line(boot, entry.getKey()))
            .collect(Collectors.joining()));
    Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE);
    lines = byId.size();
  }
}
