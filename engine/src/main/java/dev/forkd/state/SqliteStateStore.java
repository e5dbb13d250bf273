package dev.forkd.state;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.sqlite.SQLiteConfig;

/**
 * The state store in one SQLite file (write-ahead log, flushed at each commit of what is to survive
 * the host).
 *
 * <p>Ownership: all writes happen on one platform thread, which owns the writing connection. It
 * takes whatever transactions wait, up to {@value #BATCH_LIMIT}, runs each in a savepoint of its
 * own and commits them together, so that the disk is flushed once for all. Reads use a second
 * connection under {@link #readLock} on the caller's thread, and never wait for a flush.
 */
public final class SqliteStateStore implements StateStore {
  private static final int BUSY_TIMEOUT_MILLIS = 5_000;
  private static final int QUEUE_LIMIT = 4_096;
  private static final int BATCH_LIMIT = 512;

  /** How long a caller waits for its commit; a disk this slow is broken. */
  private static final Duration WAIT_LIMIT = Duration.ofMinutes(2);

  private final Path file;
  private final Sql writer;
  private final SqliteTx writerTx;
  private final Sql reader;
  private final SqliteTx readerTx;
  private final ReentrantLock readLock = new ReentrantLock();
  private final BlockingQueue<Job<?>> queue = new ArrayBlockingQueue<>(QUEUE_LIMIT);
  private final Thread writerThread;

  /** Whether a commit flushes the disk; the writer thread's own. */
  private boolean flushing = true;

  /** Set once by {@link #close}; callers and the writer thread look at it. */
  private volatile boolean closed;

  /** A transaction that waits for its turn, and who waits for it. */
  private record Job<T>(Function<Tx, T> work, boolean durable, CompletableFuture<T> result) {
    /** Runs inside the open batch; returns what to tell the caller once the batch is on disk. */
    Runnable attempt(Sql sql, Tx tx) throws SQLException {
      sql.execute("SAVEPOINT job");
      try {
        T value = work.apply(tx);
        sql.execute("RELEASE job");
        return () -> result.complete(value);
      } catch (RuntimeException | Error e) {
        // Fails itself when SQLite has already rolled everything back; then the batch is lost.
        sql.execute("ROLLBACK TO job");
        sql.execute("RELEASE job");
        return () -> result.completeExceptionally(e);
      }
    }
  }

  private SqliteStateStore(Path file, Sql writer, Sql reader) {
    this.file = file;
    this.writer = writer;
    this.writerTx = new SqliteTx(writer, file);
    this.reader = reader;
    this.readerTx = new SqliteTx(reader, file);
    this.writerThread = Threads.platform("forkd-state", this::writeUntilClosed);
  }

  /**
   * Opens or creates the database, checks it and brings its tables up to date. The folder must
   * exist. The caller sees to it that no other process does the same (see {@link DataDirLock}).
   *
   * @throws ForkdException DATA_LOSS when the file is damaged, FAILED_PRECONDITION when a newer
   *     forkd wrote it
   */
  public static SqliteStateStore open(Path file) {
    keepNativeLibraryOutOfTmp(file);
    Sql writer = null;
    try {
      createPrivate(file);
      writer = connect(file);
      List<String> findings = writer.query("PRAGMA quick_check(1)", row -> row.getString(1));
      if (!findings.equals(List.of("ok"))) {
        throw SqliteErrors.damaged(file, String.join("; ", findings), null);
      }
      SqliteSchema.migrate(writer, file);
      return new SqliteStateStore(file, writer, connect(file));
    } catch (SQLException | RuntimeException e) {
      if (writer != null) {
        closeAfter(writer, e);
      }
      throw e instanceof SQLException failure
          ? SqliteErrors.translate(file, failure)
          : (RuntimeException) e;
    }
  }

  /**
   * The driver unpacks its native library into a temporary folder and leaves it there when killed.
   * In {@code staging} the next start removes it.
   */
  private static void keepNativeLibraryOutOfTmp(Path file) {
    Path staging = file.toAbsolutePath().resolveSibling("staging");
    if (System.getProperty("org.sqlite.tmpdir") == null && Files.isDirectory(staging)) {
      System.setProperty("org.sqlite.tmpdir", staging.toString());
    }
  }

  private static void createPrivate(Path file) {
    try {
      Files.createFile(
          file, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
    } catch (FileAlreadyExistsException e) {
      // The usual case; its mode is the owner's business.
      return;
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.PERMISSION_DENIED,
          "state database " + file + " cannot be created: " + e + "; check its folder",
          e);
    }
  }

  private static Sql connect(Path file) throws SQLException {
    SQLiteConfig config = new SQLiteConfig();
    config.setJournalMode(SQLiteConfig.JournalMode.WAL);
    config.setSynchronous(SQLiteConfig.SynchronousMode.FULL);
    config.setBusyTimeout(BUSY_TIMEOUT_MILLIS);
    config.enforceForeignKeys(true);
    return new Sql(
        DriverManager.getConnection("jdbc:sqlite:" + file.toAbsolutePath(), config.toProperties()));
  }

  private static void closeAfter(Sql sql, Throwable failure) {
    try {
      sql.close();
    } catch (SQLException e) {
      failure.addSuppressed(e);
    }
  }

  @Override
  public <T> T inTransaction(Function<Tx, T> work) {
    return run(work, true);
  }

  @Override
  public <T> T untilHostStops(Function<Tx, T> work) {
    return run(work, false);
  }

  private <T> T run(Function<Tx, T> work, boolean durable) {
    if (Thread.currentThread() == writerThread) {
      throw new IllegalStateException("inside a transaction use its Tx, not the store");
    }
    requireOpen();
    long deadlineNanos = System.nanoTime() + WAIT_LIMIT.toNanos();
    CompletableFuture<T> result = new CompletableFuture<>();
    Job<T> job = new Job<>(work, durable, result);
    boolean interrupted = false;
    boolean queued = false;
    try {
      // A caller that left now would not know whether its change was stored, so interrupts wait.
      while (System.nanoTime() < deadlineNanos) {
        try {
          if (!queued) {
            queued = queue.offer(job, 1, TimeUnit.SECONDS);
          } else {
            return result.get(1, TimeUnit.SECONDS);
          }
        } catch (InterruptedException e) {
          interrupted = true;
        } catch (TimeoutException e) {
          if (!writerThread.isAlive() && !result.isDone()) {
            throw gone();
          }
        } catch (ExecutionException e) {
          throw rethrow(e.getCause());
        }
      }
      throw new ForkdException(
          ErrorCode.UNAVAILABLE,
          "state database "
              + file
              + " did not take a change within "
              + WAIT_LIMIT.toSeconds()
              + " s; check its disk");
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private static RuntimeException rethrow(@Nullable Throwable cause) {
    if (cause instanceof Error error) {
      throw error;
    }
    return cause instanceof RuntimeException failure
        ? failure
        : new ForkdException(ErrorCode.INTERNAL, "state database: " + cause, cause);
  }

  private ForkdException gone() {
    return new ForkdException(
        ErrorCode.UNAVAILABLE, "state database " + file + " is closed: forkd is stopping");
  }

  private void requireOpen() {
    if (closed) {
      throw gone();
    }
  }

  private void writeUntilClosed() {
    List<Job<?>> batch = new ArrayList<>();
    while (!closed || !queue.isEmpty()) {
      takeWaiting(batch);
      if (!batch.isEmpty()) {
        commit(batch);
        batch.clear();
      }
    }
  }

  private void takeWaiting(List<Job<?>> batch) {
    try {
      Job<?> first = queue.poll(100, TimeUnit.MILLISECONDS);
      if (first != null) {
        batch.add(first);
        queue.drainTo(batch, BATCH_LIMIT - 1);
      }
    } catch (InterruptedException e) {
      // Only close() ends this thread, and it does so by its flag: look at that one again.
      batch.clear();
    }
  }

  private void commit(List<Job<?>> batch) {
    List<Runnable> answers = new ArrayList<>(batch.size());
    try {
      flushCommits(batch.stream().anyMatch(Job::durable));
      writer.execute("BEGIN IMMEDIATE");
      for (Job<?> job : batch) {
        answers.add(job.attempt(writer, writerTx));
      }
      writer.execute("COMMIT");
    } catch (SQLException e) {
      ForkdException failure = SqliteErrors.translate(file, e);
      try {
        writer.execute("ROLLBACK");
      } catch (SQLException none) {
        // SQLite has rolled back already on full disks and input/output errors.
        failure.addSuppressed(none);
      }
      for (Job<?> job : batch) {
        job.result().completeExceptionally(failure);
      }
      return;
    }
    answers.forEach(Runnable::run);
  }

  /**
   * One flush makes all that was committed before durable as well: it is in the same log, before
   * it.
   */
  private void flushCommits(boolean wanted) throws SQLException {
    if (wanted != flushing) {
      writer.execute("PRAGMA synchronous=" + (wanted ? "FULL" : "NORMAL"));
      flushing = wanted;
    }
  }

  private <T> T read(Function<Tx, T> query) {
    if (Thread.currentThread() == writerThread) {
      throw new IllegalStateException("inside a transaction use its Tx, not the store");
    }
    readLock.lock();
    try {
      requireOpen();
      return query.apply(readerTx);
    } finally {
      readLock.unlock();
    }
  }

  private void write(Consumer<Tx> change) {
    write(change, true);
  }

  private void write(Consumer<Tx> change, boolean durable) {
    boolean _ =
        run(
            tx -> {
              change.accept(tx);
              return true;
            },
            durable);
  }

  @Override
  public void close() {
    readLock.lock();
    try {
      if (closed) {
        return;
      }
      closed = true;
    } finally {
      readLock.unlock();
    }
    boolean interrupted = false;
    try {
      writerThread.join(WAIT_LIMIT);
    } catch (InterruptedException e) {
      interrupted = true;
    }
    try {
      reader.close();
      writer.close();
    } catch (SQLException e) {
      throw SqliteErrors.translate(file, e);
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  @Override
  public void insertSnapshot(SnapshotRow row) {
    write(tx -> tx.insertSnapshot(row));
  }

  @Override
  public void updateSnapshot(SnapshotRow row) {
    write(tx -> tx.updateSnapshot(row));
  }

  @Override
  public boolean deleteSnapshot(String tag) {
    return inTransaction(tx -> tx.deleteSnapshot(tag));
  }

  @Override
  public Optional<SnapshotRow> findSnapshot(String tag) {
    return read(tx -> tx.findSnapshot(tag));
  }

  @Override
  public List<SnapshotRow> listSnapshots() {
    return read(Tx::listSnapshots);
  }

  @Override
  public List<SnapshotRow> childrenOf(String tag) {
    return read(tx -> tx.childrenOf(tag));
  }

  @Override
  public void insertSandbox(SandboxRow row) {
    write(tx -> tx.insertSandbox(row), false);
  }

  @Override
  public void updateSandbox(SandboxRow row) {
    write(tx -> tx.updateSandbox(row), false);
  }

  @Override
  public boolean deleteSandbox(String id) {
    return untilHostStops(tx -> tx.deleteSandbox(id));
  }

  @Override
  public Optional<SandboxRow> findSandbox(String id) {
    return read(tx -> tx.findSandbox(id));
  }

  @Override
  public List<SandboxRow> listSandboxes() {
    return read(Tx::listSandboxes);
  }

  @Override
  public void insertWorkspace(WorkspaceRow row) {
    write(tx -> tx.insertWorkspace(row));
  }

  @Override
  public void updateWorkspace(WorkspaceRow row) {
    write(tx -> tx.updateWorkspace(row));
  }

  @Override
  public boolean deleteWorkspace(String name) {
    return inTransaction(tx -> tx.deleteWorkspace(name));
  }

  @Override
  public Optional<WorkspaceRow> findWorkspace(String name) {
    return read(tx -> tx.findWorkspace(name));
  }

  @Override
  public List<WorkspaceRow> listWorkspaces() {
    return read(Tx::listWorkspaces);
  }

  @Override
  public void putPool(PoolRow row) {
    write(tx -> tx.putPool(row));
  }

  @Override
  public boolean deletePool(String tag) {
    return inTransaction(tx -> tx.deletePool(tag));
  }

  @Override
  public List<PoolRow> listPools() {
    return read(Tx::listPools);
  }

  @Override
  public void putHosted(HostedRow row) {
    write(tx -> tx.putHosted(row));
  }

  @Override
  public boolean deleteHosted(String id) {
    return inTransaction(tx -> tx.deleteHosted(id));
  }

  @Override
  public List<HostedRow> listHosted() {
    return read(Tx::listHosted);
  }
}
