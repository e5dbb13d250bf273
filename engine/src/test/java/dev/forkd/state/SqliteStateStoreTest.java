package dev.forkd.state;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SqliteStateStoreTest {
  @TempDir Path dir;

  /** What is written is there again, field by field, after closing and opening. */
  @Test
  void rowsSurviveReopening() {
    SnapshotRow template =
        new SnapshotRow(
            "python",
            SnapshotState.READY,
            true,
            Optional.empty(),
            Optional.empty(),
            Optional.empty(),
            1,
            "{}");
    SnapshotRow branch =
        new SnapshotRow(
            "b-1",
            SnapshotState.WRITING,
            false,
            Optional.of("python"),
            Optional.of("sb1"),
            Optional.of("diff"),
            1L << 40,
            "{\"a\":\"é\"}");
    SandboxRow sandbox = sandbox("sb1", 4711);
    SandboxRow limited =
        new SandboxRow("sb2", SandboxState.STARTING, "b-1", 0, 0, 5, Optional.of(256), "{}");
    try (StateStore store = open()) {
      store.insertSnapshot(template);
      store.insertSnapshot(branch);
      store.insertSandbox(sandbox);
      store.insertSandbox(limited);
    }
    try (StateStore store = open()) {
      assertThat(store.listSnapshots()).containsExactly(branch, template);
      assertThat(store.findSnapshot("b-1")).contains(branch);
      assertThat(store.childrenOf("python")).containsExactly(branch);
      assertThat(store.listSandboxes()).containsExactly(sandbox, limited);
      assertThat(store.findSandbox("nobody")).isEmpty();
      store.updateSnapshot(branch.withState(SnapshotState.READY).withManifest("{\"b\":1}"));
      store.updateSandbox(sandbox.withState(SandboxState.FAILED).withProcess(9, 8));
      assertThat(store.findSnapshot("b-1").orElseThrow().manifestJson()).isEqualTo("{\"b\":1}");
      assertThat(store.findSandbox("sb1").orElseThrow().startTicks()).isEqualTo(8);
    }
  }

  /** Pools are stored by tag; the last word counts. */
  @Test
  void poolsSurviveReopening() {
    try (StateStore store = open()) {
      store.putPool(new PoolRow("python", 3, false));
      store.putPool(new PoolRow("python", 7, true));
      store.putPool(new PoolRow("gone", 1, false));
      assertThat(store.deletePool("gone")).isTrue();
      assertThat(store.deletePool("gone")).isFalse();
    }
    try (StateStore store = open()) {
      assertThat(store.listPools()).containsExactly(new PoolRow("python", 7, true));
    }
  }

  /** A workspace is stored field by field, and every state is one the table knows. */
  @Test
  void workspacesSurviveReopening() {
    WorkspaceRow first =
        WorkspaceRow.creating("w", "python", "sb0123456789ab", Optional.of(256), 5);
    WorkspaceRow full =
        new WorkspaceRow(
            "a",
            "ws-sb1",
            WorkspaceState.SETTLING,
            "python",
            Optional.of("sb1"),
            Optional.of("sb2"),
            Optional.of("s1"),
            Optional.of("s2"),
            Optional.of("s3"),
            7,
            Optional.empty(),
            1L << 40,
            1L << 41);
    try (StateStore store = open()) {
      store.insertWorkspace(first);
      store.insertWorkspace(full);
      assertCode(() -> store.insertWorkspace(first), ErrorCode.ALREADY_EXISTS, "'w'");
      for (WorkspaceRow row :
          List.of(
              first.started(6),
              first.started(6).suspending("s", 1),
              first.started(6).suspending("s", 1).saved(8),
              first.started(6).suspending("s", 1).saved(8).settled(),
              first.started(6).resuming("sb9"),
              first.deleting())) {
        store.updateWorkspace(row);
        assertThat(store.findWorkspace("w")).contains(row);
      }
      store.updateWorkspace(first);
    }
    try (StateStore store = open()) {
      assertThat(store.listWorkspaces()).containsExactly(full, first);
      assertThat(store.deleteWorkspace("a")).isTrue();
      assertThat(store.deleteWorkspace("a")).isFalse();
      assertCode(() -> store.updateWorkspace(full), ErrorCode.NOT_FOUND, "'a'");
    }
  }

  /** Names are taken once, updates need a row, deletes may be repeated; each says which it was. */
  @Test
  void misuseIsNamed() {
    try (StateStore store = open()) {
      store.insertSandbox(sandbox("sb1", 1));
      assertCode(() -> store.insertSandbox(sandbox("sb1", 2)), ErrorCode.ALREADY_EXISTS, "sb1");
      assertCode(() -> store.updateSandbox(sandbox("sb9", 2)), ErrorCode.NOT_FOUND, "sb9");
      assertThat(store.findSandbox("sb1").orElseThrow().pid()).isEqualTo(1);
      assertThat(store.deleteSandbox("sb1")).isTrue();
      assertThat(store.deleteSandbox("sb1")).isFalse();
    }
  }

  /** A transaction that throws leaves nothing, and harms none that shares its flush. */
  @Test
  void transactionsAreAllOrNothing() throws Exception {
    try (StateStore store = open();
        ExecutorService threads = Threads.virtualExecutor("test")) {
      List<Future<?>> good = new ArrayList<>();
      List<Future<?>> bad = new ArrayList<>();
      for (int i = 0; i < 200; i++) {
        int number = i;
        good.add(threads.submit(() -> store.insertSandbox(sandbox("good" + number, number))));
        bad.add(
            threads.submit(() ->
                store.inTransaction(tx -> {
                  tx.insertSandbox(sandbox("bad" + number, number));
                  throw new IllegalArgumentException("on purpose");
                })));
      }
      for (Future<?> future : good) {
        future.get();
      }
      for (Future<?> future : bad) {
        assertThatThrownBy(future::get).hasRootCauseMessage("on purpose");
      }
      assertThat(store.listSandboxes()).hasSize(200).allMatch(row -> row.id().startsWith("good"));
    }
  }

  /** A fork of a thousand is one transaction of well under a second. */
  @Test
  void aThousandRowsInOneTransaction() {
    try (StateStore store = open()) {
      long leastNanos = Long.MAX_VALUE;
      // A disk that stalls is not the store's doing: it does not do so each time.
      for (int round = 0; round < 3 && leastNanos >= 5_000_000_000L; round++) {
        long startNanos = System.nanoTime();
        String prefix = "sb" + round + "-";
        store.inTransaction(tx -> {
          for (int i = 0; i < 1000; i++) {
            tx.insertSandbox(sandbox(prefix + i, i));
          }
          return true;
        });
        leastNanos = Math.min(leastNanos, System.nanoTime() - startNanos);
        assertThat(store.listSandboxes()).hasSize(1000 * (round + 1));
      }
      assertThat(leastNanos).isLessThan(5_000_000_000L);
    }
  }

  /** Using the store inside its own transaction is refused rather than a deadlock. */
  @Test
  void nestingIsRefused() {
    try (StateStore store = open()) {
      assertThatThrownBy(() -> store.inTransaction(tx -> store.listSandboxes()))
          .isInstanceOf(IllegalStateException.class);
      assertThatThrownBy(() -> store.inTransaction(tx -> store.deleteSandbox("x")))
          .isInstanceOf(IllegalStateException.class);
    }
  }

  /** A closed store says so; closing twice is fine. */
  @Test
  void closedStoreSaysSo() {
    StateStore store = open();
    store.close();
    store.close();
    assertCode(store::listSandboxes, ErrorCode.UNAVAILABLE, "closed");
    assertCode(() -> store.deleteSandbox("x"), ErrorCode.UNAVAILABLE, "closed");
  }

  /** An interrupted caller still learns what became of its change, and stays interrupted. */
  @Test
  void interruptsDoNotLoseAnswers() {
    try (StateStore store = open()) {
      Thread.currentThread().interrupt();
      store.insertSandbox(sandbox("sb1", 1));
      assertThat(Thread.interrupted()).isTrue();
      assertThat(store.findSandbox("sb1")).isPresent();
    }
  }

  /** A file that is no database, and one damaged inside, are refused by name, not overwritten. */
  @Test
  void damageIsNamed() throws Exception {
    Files.writeString(file(), "this is not a database, whatever its name says\n".repeat(100));
    assertCode(this::open, ErrorCode.DATA_LOSS, file().toString());
    assertThat(Files.readString(file())).startsWith("this is not");
    Files.delete(file());
    try (StateStore store = open()) {
      store.inTransaction(tx -> {
        for (int i = 0; i < 500; i++) {
          tx.insertSandbox(sandbox("sb" + i, i));
        }
        return true;
      });
    }
    try (RandomAccessFile damage = new RandomAccessFile(file().toFile(), "rw")) {
      byte[] junk = new byte[512];
      java.util.Arrays.fill(junk, (byte) 0xee);
      for (long at = 4096; at + junk.length < damage.length(); at += 4096) {
        damage.seek(at);
        damage.write(junk);
      }
    }
    assertCode(this::open, ErrorCode.DATA_LOSS, file().toString());
  }

  /** A database of a newer forkd is left alone. */
  @Test
  void newerVersionIsRefused() throws Exception {
    open().close();
    try (Connection connection = DriverManager.getConnection("jdbc:sqlite:" + file());
        Statement statement = connection.createStatement()) {
      statement.execute("PRAGMA user_version = 99");
    }
    assertCode(this::open, ErrorCode.FAILED_PRECONDITION, "newer forkd");
  }

  /** A database of the first version keeps its rows and loses the tables nobody used. */
  @Test
  void firstVersionIsBroughtUpToDate() throws Exception {
    try (StateStore store = open()) {
      store.insertSandbox(sandbox("sb1", 4711));
    }
    try (Connection connection = DriverManager.getConnection("jdbc:sqlite:" + file());
        Statement statement = connection.createStatement()) {
      for (String table : List.of("layer", "layer_ref", "operation", "operation_step")) {
        statement.execute("CREATE TABLE " + table + " (id TEXT)");
      }
      statement.execute("DROP TABLE workspace");
      statement.execute("DROP TABLE pool");
      statement.execute("DROP TABLE hosted");
      statement.execute("PRAGMA user_version = 1");
    }
    try (StateStore store = open()) {
      assertThat(store.listSandboxes()).containsExactly(sandbox("sb1", 4711));
    }
    try (Connection connection = DriverManager.getConnection("jdbc:sqlite:" + file());
        Statement statement = connection.createStatement();
        ResultSet tables =
            statement.executeQuery(
                "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema WHERE type ="
                    + " 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name)")) {
      assertThat(tables.getString(1)).isEqualTo("hosted,pool,sandbox,snapshot,workspace");
    }
  }

  /** Others on the host cannot read it. */
  @Test
  void fileIsPrivate() throws Exception {
    try (StateStore store = open()) {
      store.insertSandbox(sandbox("sb1", 1));
      for (String name : List.of("state.db", "state.db-wal", "state.db-shm")) {
        assertThat(
                java.nio.file.attribute.PosixFilePermissions.toString(
                    Files.getPosixFilePermissions(dir.resolve(name))))
            .isEqualTo("rw-------");
      }
    }
  }

  private Path file() {
    return dir.resolve("state.db");
  }

  private StateStore open() {
    return SqliteStateStore.open(file());
  }

  static SandboxRow sandbox(String id, long pid) {
    return new SandboxRow(
        id, SandboxState.LIVE, "python", pid, 2, 3, Optional.empty(), "{\"x\":[1,2]}");
  }

  private static void assertCode(Runnable call, ErrorCode code, String words) {
    assertThatThrownBy(call::run)
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(code);
              assertThat(e.message()).contains(words);
            });
  }
}
