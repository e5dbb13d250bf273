package dev.forkd.http;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.rest.Json;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReentrantLock;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One JSON line per request: when, what, how it ended, how long it took. No bodies, no query, no
 * token. At {@value #BYTES_MAX} bytes the file is moved to {@code NAME.1} and begun anew, so it
 * never takes more than twice that. A failure to write is counted and logged, and hinders nobody.
 */
public final class AuditLog implements AutoCloseable {
  static final long BYTES_MAX = 64L << 20;
  private static final int USER_AGENT_CHARS_MAX = 256;
  private static final Logger LOG = LoggerFactory.getLogger(AuditLog.class);

  private final Path path;
  private final long bytesMax;
  private final ReentrantLock lock = new ReentrantLock();
  private final AtomicLong failures = new AtomicLong();
  private FileChannel channel;
  private long size;
  private boolean closed;

  /** A line. Times are UTC in whole seconds; latency in microseconds. */
  record Entry(
      String ts,
      String method,
      String path,
      int status,
      long latencyUs,
      String ua,
      String requestId) {}

  private AuditLog(Path path, long bytesMax, FileChannel channel, long size) {
    this.path = path;
    this.bytesMax = bytesMax;
    this.channel = channel;
    this.size = size;
  }

  /** Opens or makes the file and its folder; readable by the owner only. */
  public static AuditLog open(Path path) {
    return open(path, BYTES_MAX);
  }

  static AuditLog open(Path path, long bytesMax) {
    try {
      Path folder = path.toAbsolutePath().getParent();
      if (folder != null) {
        Files.createDirectories(folder);
      }
      FileChannel channel = openChannel(path);
      return new AuditLog(path, bytesMax, channel, channel.size());
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "cannot open the audit log " + path + ": " + e + "; choose another with --audit-log",
          e);
    }
  }

  private static FileChannel openChannel(Path path) throws IOException {
    return FileChannel.open(
        path,
        Set.of(StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.APPEND),
        PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
  }

  void record(
      Instant now,
      String method,
      String rawPath,
      int status,
      long latencyMicros,
      String userAgent,
      String requestId) {
    Entry entry =
        new Entry(
            now.truncatedTo(ChronoUnit.SECONDS).toString(),
            method,
            rawPath,
            status,
            latencyMicros,
            userAgent.length() <= USER_AGENT_CHARS_MAX
                ? userAgent
                : userAgent.substring(0, USER_AGENT_CHARS_MAX),
            requestId);
    ByteBuffer line = ByteBuffer.wrap((Json.text(entry) + "\n").getBytes(StandardCharsets.UTF_8));
    lock.lock();
    try {
      if (size + line.remaining() > bytesMax) {
        beginAnew();
      }
      size += line.remaining();
      writeUninterrupted(line);
    } catch (IOException e) {
      failed(e);
    } finally {
      lock.unlock();
    }
  }

  /**
   * Writes, whoever interrupts this thread: that closes the channel, which would lose the lines of
   * all others too.
   */
  private void writeUninterrupted(ByteBuffer line) throws IOException {
    boolean interrupted = Thread.interrupted();
    try {
      writeAll(line);
    } catch (ClosedChannelException e) {
      if (closed) {
        throw e;
      }
      interrupted |= Thread.interrupted();
      channel = openChannel(path);
      writeAll(line);
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private void writeAll(ByteBuffer line) throws IOException {
    while (line.hasRemaining()) {
      channel.write(line);
    }
  }

  /** The lines go on into the old file when there can be no new one; the next line tries again. */
  private void beginAnew() {
    try (FileChannel _ = rotate()) {
      size = 0;
    } catch (IOException e) {
      failed(e);
    }
  }

  private FileChannel rotate() throws IOException {
    FileChannel old = channel;
    try {
      Files.move(
          path,
          path.resolveSibling(path.getFileName() + ".1"),
          StandardCopyOption.REPLACE_EXISTING);
    } catch (NoSuchFileException e) {
      LOG.info("the audit log {} was moved away by someone else; beginning a new one", path);
    }
    channel = openChannel(path);
    return old;
  }

  private void failed(IOException e) {
    long count = failures.incrementAndGet();
    // The first failure tells; a full disk must not fill the other log as well.
    if (Long.bitCount(count) == 1) {
      LOG.warn("cannot write the audit log {} ({} failures so far)", path, count, e);
    }
  }

  /** How often a line could not be written, or the file not be begun anew. */
  long failures() {
    return failures.get();
  }

  @Override
  public void close() {
    lock.lock();
    try {
      closed = true;
      channel.close();
    } catch (IOException e) {
      LOG.warn("cannot close the audit log {}", path, e);
    } finally {
      lock.unlock();
    }
  }
}
