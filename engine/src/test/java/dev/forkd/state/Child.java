package dev.forkd.state;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;

/** A process of its own for tests that must kill one. */
final class Child {
  /** What it does. */
  enum Task {
    /** Takes the lock of the data directory, says {@code held}, and waits. */
    HOLD_LOCK,
    /** Forks and kills in the store for ever; says {@code done N} when change N is stored. */
    WRITE_STATE
  }

  private Child() {}

  static Process start(Task task, Path dir) throws IOException {
    return new ProcessBuilder(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                System.getProperty("java.class.path"),
                Child.class.getName(),
                task.name(),
                dir.toString()))
        .redirectError(ProcessBuilder.Redirect.INHERIT)
        .start();
  }

  public static void main(String[] arguments) throws Exception {
    Path dir = Path.of(arguments[1]);
    switch (Task.valueOf(arguments[0].toUpperCase(Locale.ROOT))) {
      case HOLD_LOCK -> holdLock(dir);
      case WRITE_STATE -> writeState(dir);
    }
  }

  private static void holdLock(Path dir) throws InterruptedException {
    try (DataDirLock lock = DataDirLock.acquire(DataDir.open(dir, Map.of()))) {
      System.out.println(lock == null ? "" : "held");
      Thread.sleep(60_000);
    }
  }

  /**
   * Change N puts {@value #FAMILY} sandboxes and the snapshot they run on in, and takes change N-2
   * out.
   */
  private static void writeState(Path dir) {
    try (StateStore store = SqliteStateStore.open(dir.resolve("state.db"))) {
      int first =
          store.listSnapshots().size() + ThreadLocalRandom.current().nextInt(1_000_000) * 1000;
      for (int i = first; ; i++) {
        int number = i;
        store.inTransaction(tx -> {
          tx.insertSnapshot(snapshot(number));
          for (int member = 0; member < FAMILY; member++) {
            String id = "sb" + number + "x" + member;
            tx.insertSandbox(SqliteStateStoreTest.sandbox(id, number));
          }
          return true;
        });
        System.out.println("done " + number);
        if (number - 2 >= first) {
          store.inTransaction(tx -> {
            for (int member = 0; member < FAMILY; member++) {
              tx.deleteSandbox("sb" + (number - 2) + "x" + member);
            }
            return tx.deleteSnapshot("snapshot" + (number - 2));
          });
          System.out.println("gone " + (number - 2));
        }
      }
    }
  }

  private static SnapshotRow snapshot(int number) {
    return new SnapshotRow(
        "snapshot" + number,
        SnapshotState.READY,
        true,
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        number,
        "{}");
  }

  static final int FAMILY = 7;
}
