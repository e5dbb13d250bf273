package dev.forkd.state;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class StateCrashTest {
  private static final int ROUNDS = 4;
  private static final int FUZZ_OPERATIONS = 1_500;

  @TempDir Path dir;

  /**
   * A writer is killed at a random moment, again and again. What it had said was stored is there,
   * and no transaction is there in part.
   */
  @Test
  void killedWriterLosesNothingItAnsweredFor() throws Exception {
    long seed = System.nanoTime();
    System.err.println("StateCrashTest seed " + seed);
    Random random = new Random(seed);
    // Where the driver unpacks its library; a killed one leaves it there rather than in /tmp.
    Files.createDirectory(dir.resolve("staging"));
    Set<Long> before = new HashSet<>();
    for (int round = 0; round < ROUNDS; round++) {
      Process writer = Child.start(Child.Task.WRITE_STATE, dir);
      List<String> said = new ArrayList<>();
      try (var lines = writer.inputReader()) {
        said.add(lines.readLine());
        Thread.sleep(random.nextInt(150));
        // Through the handle, which leaves what was said readable.
        writer.toHandle().destroyForcibly();
        writer.waitFor();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
          said.add(line);
        }
      }
      try (StateStore store = SqliteStateStore.open(dir.resolve("state.db"))) {
        Map<Long, Integer> families = new HashMap<>();
        store.listSandboxes().forEach(row -> families.merge(row.pid(), 1, Integer::sum));
        Set<Long> numbers = new HashSet<>();
        store.listSnapshots().forEach(row -> numbers.add(row.createdUnixMillis()));
        assertThat(families.values()).as("seed %d", seed).containsOnly(Child.FAMILY);
        assertThat(families.keySet()).as("seed %d", seed).isEqualTo(numbers);
        Set<Long> promised = new TreeSet<>();
        for (String line : said) {
          long number = Long.parseLong(line.substring(5));
          if (line.startsWith("done")) {
            promised.add(number);
          } else {
            promised.remove(number);
            assertThat(numbers).as("seed %d: %s", seed, line).doesNotContain(number);
          }
        }
        // The oldest promised one may be on its way out, unsaid.
        promised.stream().limit(promised.size() > 2 ? 1 : 0).toList().forEach(promised::remove);
        assertThat(numbers).as("seed %d", seed).containsAll(promised).containsAll(before);
        before = numbers;
      }
    }
  }

  /** Thousands of random changes, some in transactions that fail, agree with a plain map. */
  @Test
  void randomChangesAgreeWithAModel() {
    long seed = System.nanoTime();
    System.err.println("StateCrashTest seed " + seed);
    Random random = new Random(seed);
    Map<String, SandboxRow> sandboxes = new TreeMap<>();
    Map<String, SnapshotRow> snapshots = new TreeMap<>();
    StateStore store = SqliteStateStore.open(dir.resolve("state.db"));
    try {
      for (int i = 0; i < FUZZ_OPERATIONS; i++) {
        String name = "n" + random.nextInt(40);
        switch (random.nextInt(7)) {
          case 0 -> {
            SandboxRow row = SqliteStateStoreTest.sandbox(name, random.nextLong(1L << 40));
            StateStore now = store;
            assertThat(succeeds(() -> now.insertSandbox(row)))
                .isEqualTo(sandboxes.putIfAbsent(name, row) == null);
          }
          case 1 -> {
            SandboxRow row = SqliteStateStoreTest.sandbox(name, i).withState(SandboxState.FAILED);
            StateStore now = store;
            assertThat(succeeds(() -> now.updateSandbox(row)))
                .isEqualTo(sandboxes.containsKey(name));
            sandboxes.computeIfPresent(name, (key, old) -> row);
          }
          case 2 -> assertThat(store.deleteSandbox(name)).isEqualTo(sandboxes.remove(name) != null);
          case 3 -> {
            SnapshotRow row =
                new SnapshotRow(
                    name,
                    SnapshotState.READY,
                    random.nextBoolean(),
                    Optional.of("n" + random.nextInt(40)),
                    Optional.empty(),
                    Optional.of("diff"),
                    i,
                    "{\"text\":\"'; DROP TABLE snapshot; --\u20ac\"}");
            StateStore now = store;
            assertThat(succeeds(() -> now.insertSnapshot(row)))
                .isEqualTo(snapshots.putIfAbsent(name, row) == null);
          }
          case 4 ->
              assertThat(store.deleteSnapshot(name)).isEqualTo(snapshots.remove(name) != null);
          case 5 -> {
            StateStore now = store;
            assertThat(
                    succeeds(() ->
                        now.inTransaction(tx -> {
                          tx.listSandboxes().forEach(row -> tx.deleteSandbox(row.id()));
                          throw new IllegalStateException("on purpose");
                        })))
                .isFalse();
          }
          default -> {
            if (random.nextInt(30) == 0) {
              store.close();
              store = SqliteStateStore.open(dir.resolve("state.db"));
            }
            assertThat(store.listSandboxes())
                .as("seed %d", seed)
                .containsExactlyElementsOf(sandboxes.values());
            assertThat(store.childrenOf(name))
                .as("seed %d", seed)
                .containsExactlyElementsOf(
                    snapshots.values().stream()
                        .filter(row -> row.parentTag().orElseThrow().equals(name))
                        .toList());
          }
        }
      }
      assertThat(store.listSnapshots())
          .as("seed %d", seed)
          .containsExactlyElementsOf(snapshots.values());
    } finally {
      store.close();
    }
  }

  private static boolean succeeds(Runnable change) {
    try {
      change.run();
      return true;
    } catch (RuntimeException e) {
      return false;
    }
  }
}
