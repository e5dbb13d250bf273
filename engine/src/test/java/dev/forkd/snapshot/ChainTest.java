package dev.forkd.snapshot;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.SnapshotDetail;
import dev.forkd.linux.PageRuns;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.assertj.core.api.AbstractThrowableAssert;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Snapshots that name each other as parent: what is told, refused and deleted. */
class ChainTest {
  @TempDir Path dir;
  private SnapshotShelf shelf;

  @BeforeEach
  void open() {
    shelf = new SnapshotShelf(dir);
  }

  @AfterEach
  void close() {
    shelf.close();
  }

  private void reopen() {
    shelf.close();
    shelf = new SnapshotShelf(dir);
  }

  private SnapshotDetail detail(String tag) {
    return shelf.catalog.detail(new Tag(tag));
  }

  private void delete(String tag, DeleteMode mode) {
    shelf.catalog.delete(new Tag(tag), mode);
  }

  private List<String> tags() {
    return shelf.catalog.list().stream().map(snapshot -> snapshot.tag().value()).toList();
  }

  private static List<Tag> tags(String... names) {
    return List.of(names).stream().map(Tag::new).toList();
  }

  private static AbstractThrowableAssert<?, ?> refused(ThrowingCallable call, ErrorCode code) {
    return assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).as(e.message()).isEqualTo(code));
  }

  /** A link tells its parent, its hash, all below it from the base up, and only its own bytes. */
  @Test
  void detailsOfAChain() throws Exception {
    SnapshotManifest base = shelf.base("base");
    SnapshotManifest one = shelf.link("one", "base", 1);
    shelf.link("two", "one", 2);
    shelf.link("other", "base", 3);
    shelf.branch("loose", "base", 4, false);
    SnapshotDetail two = detail("two");
    assertThat(two.chainDepth()).isEqualTo(2);
    assertThat(two.ancestors()).isEqualTo(tags("base", "one"));
    assertThat(two.parent()).contains(new Tag("one"));
    assertThat(two.parentContentHash()).contains(one.memory().getFirst().contentHash());
    assertThat(two.dependents()).isEmpty();
    assertThat(two.memoryLogicalBytes()).isEqualTo(1 << 20);
    assertThat(two.memoryPhysicalBytes()).isBetween(4096L, 8192L);
    assertThat(two.memorySharedBytes()).isBetween(3 * 4096L, 4 * 4096L);
    assertThat(two.vmstateBytes()).isEqualTo("devices of two".length());
    SnapshotDetail root = detail("base");
    assertThat(root.chainDepth()).isZero();
    assertThat(root.parent()).isEmpty();
    assertThat(root.parentContentHash()).isEmpty();
    assertThat(root.contentHash()).isEqualTo(base.memory().getFirst().contentHash());
    assertThat(root.dependents())
        .as("a branch without the edge is none")
        .isEqualTo(tags("one", "other"));
    assertThat(detail("loose").parent()).isEmpty();
    assertThat(detail("loose").chainDepth()).isZero();
    assertThat(shelf.catalog.get(new Tag("loose")).source()).contains(new Tag("base"));
    refused(() -> detail("nope"), ErrorCode.NOT_FOUND);
    reopen();
    assertThat(detail("two")).isEqualTo(two);
  }

  /** A snapshot with dependents goes with them, or alone by force, or not at all. */
  @Test
  void deletingWhatOthersStandOn() throws Exception {
    shelf.base("base");
    shelf.link("one", "base", 1);
    shelf.link("two", "one", 2);
    shelf.link("three", "two", 3);
    shelf.link("side", "one", 4);
    refused(() -> delete("one", DeleteMode.REFUSE), ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("2 dependents (side, two)")
        .hasMessageContaining("?cascade=true")
        .hasMessageContaining("?force=true");
    delete("one", DeleteMode.CASCADE);
    assertThat(tags()).containsExactly("base");
    assertThat(shelf.memory.list()).containsExactly("mbase");
    assertThat(shelf.layers.list()).containsExactly("rbase");
    assertThat(shelf.store.listSnapshots()).hasSize(1);
    delete("base", DeleteMode.REFUSE);
    assertThat(shelf.memory.list()).isEmpty();
    refused(() -> delete("base", DeleteMode.CASCADE), ErrorCode.NOT_FOUND);
  }

  /** What was orphaned by force still has its memory; only its chain cannot be told any more. */
  @Test
  void orphansKeepWhatTheyNeed() throws Exception {
    shelf.base("base");
    shelf.link("one", "base", 1);
    shelf.link("two", "one", 2);
    delete("one", DeleteMode.FORCE);
    assertThat(shelf.page("two", 1, 3)).isEqualTo("one");
    assertThat(shelf.page("two", 0, 4)).isEqualTo("base");
    refused(() -> detail("two"), ErrorCode.DATA_LOSS)
        .hasMessageContaining("'one', the parent of 'two', does not exist")
        .hasMessageContaining("snapshot-compact");
    assertThat(detail("base").dependents()).isEmpty();
    // Another snapshot under the old tag is not the parent.
    shelf.link("one", "base", 9);
    refused(() -> detail("two"), ErrorCode.DATA_LOSS)
        .hasMessageContaining("'one' is not the snapshot that 'two' was branched from");
    // The chain goes on from the orphan, and its compacted copy stands alone.
    shelf.link("three", "two", 3);
    assertThat(shelf.compactor.compact(new Tag("three"), new Tag("whole")).parent()).isEmpty();
    delete("two", DeleteMode.CASCADE);
    delete("base", DeleteMode.CASCADE);
    assertThat(tags()).containsExactly("whole");
    reopen();
    assertThat(shelf.page("whole", 1, 3)).isEqualTo("one");
    assertThat(shelf.page("whole", 3, 5)).isEqualTo("three");
    assertThat(detail("whole").chainDepth()).isZero();
  }

  /** A chain has at most 32 links; the next is refused with the way out. */
  @Test
  void chainsAreBounded() throws Exception {
    shelf.base("t0");
    for (int i = 1; i <= 32; i++) {
      shelf.link("t" + i, "t" + (i - 1), i);
    }
    assertThat(detail("t32").chainDepth()).isEqualTo(32);
    assertThat(detail("t32").memoryPhysicalBytes()).isLessThanOrEqualTo(8192);
    refused(() -> shelf.link("t33", "t32", 33), ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("has 32 links; at most 32")
        .hasMessageContaining("compact");
    shelf.branch("loose", "t32", 33, false);
    reopen();
    assertThat(shelf.page("t32", 17, 3)).isEqualTo("t17");
    shelf.compactor.compact(new Tag("t32"), new Tag("flat"));
    shelf.link("on", "flat", 1);
    assertThat(detail("on").ancestors()).isEqualTo(tags("flat"));
    delete("t0", DeleteMode.CASCADE);
    assertThat(shelf.page("on", 17, 3)).isEqualTo("t17");
  }

  /** Force does not hide links from the limit: their memory is still read. */
  @Test
  void orphanedLinksStillCount() throws Exception {
    shelf.base("t0");
    for (int i = 1; i <= 20; i++) {
      shelf.link("t" + i, "t" + (i - 1), i);
    }
    delete("t10", DeleteMode.FORCE);
    for (int i = 21; i <= 32; i++) {
      shelf.link("t" + i, "t" + (i - 1), i);
    }
    refused(() -> shelf.link("t33", "t32", 33), ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("compact");
  }

  /** A parent that was made anew, or that is gone, is not the one the sandbox came from. */
  @Test
  void anEdgeIsTagAndHash() throws Exception {
    SnapshotManifest old = shelf.base("base");
    delete("base", DeleteMode.REFUSE);
    refused(
            () -> shelf.catalog.checkLink(new Tag("base"), old.memory()),
            ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("deleted");
    shelf.base("x");
    shelf.link("base", "x", 5);
    refused(
            () -> shelf.catalog.checkLink(new Tag("base"), old.memory()),
            ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("made anew");
  }

  /** A link that is being written holds its parent, and cannot be deleted itself. */
  @Test
  void linksBeingWrittenHoldTheirParent() throws Exception {
    shelf.base("base");
    shelf.link("one", "base", 1);
    shelf.reserve("two", Optional.of(SnapshotShelf.lineage("one", true)));
    refused(() -> delete("two", DeleteMode.FORCE), ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("still being written");
    refused(() -> delete("one", DeleteMode.REFUSE), ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("1 dependent (two)");
    refused(() -> delete("base", DeleteMode.CASCADE), ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("'two' is still being written");
    assertThat(tags()).containsExactly("base", "one", "two");
    refused(() -> detail("two"), ErrorCode.UNAVAILABLE);
    shelf.catalog.abandon(new Tag("two"));
    delete("base", DeleteMode.CASCADE);
    refused(
            () -> shelf.reserve("late", Optional.of(SnapshotShelf.lineage("one", true))),
            ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("'one' was just deleted");
    assertThat(tags()).isEmpty();
  }

  /** Only a damaged manifest can close a circle: it is told, forks go on, cascade ends. */
  @Test
  void circles() throws Exception {
    shelf.base("base");
    shelf.link("one", "base", 1);
    shelf.link("two", "one", 2);
    shelf.link("three", "two", 3);
    rewrite("one", "\"parentTag\" : \"base\"", "\"parentTag\" : \"two\"");
    rewrite("one", "\"parent\" : \"mbase\"", "\"parent\" : null");
    reopen();
    refused(() -> detail("three"), ErrorCode.DATA_LOSS);
    assertThat(shelf.page("three", 1, 3)).isEqualTo("one");
    delete("two", DeleteMode.CASCADE);
    assertThat(tags()).containsExactly("base");
  }

  /** The same with hashes that fit: the circle itself is what is told. */
  @Test
  void circleOfOne() throws Exception {
    shelf.base("base");
    SnapshotManifest one = shelf.link("one", "base", 1);
    rewrite("one", "\"parentTag\" : \"base\"", "\"parentTag\" : \"one\"");
    reopen();
    refused(() -> detail("one"), ErrorCode.DATA_LOSS)
        .hasMessageContaining("circle")
        .hasMessageContaining("'one'");
    assertThat(shelf.catalog.require(new Tag("one")).memory()).isEqualTo(one.memory());
    delete("one", DeleteMode.CASCADE);
    assertThat(tags()).containsExactly("base");
  }

  /** A damaged link still protects its parent: the database knows the edge. */
  @Test
  void damagedLinksAreStillDependents() throws Exception {
    shelf.base("base");
    shelf.link("one", "base", 1);
    shelf.link("two", "one", 2);
    Files.writeString(manifest("one"), "{ not json");
    reopen();
    assertThat(shelf.catalog.get(new Tag("one")).status()).isEqualTo(Snapshot.Status.FAILED);
    refused(() -> delete("base", DeleteMode.REFUSE), ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("one");
    refused(() -> detail("two"), ErrorCode.DATA_LOSS).hasMessageContaining("'one'");
    refused(() -> detail("one"), ErrorCode.DATA_LOSS).hasMessageContaining("snapshot.json");
    assertThat(shelf.page("two", 1, 3)).isEqualTo("one");
    delete("base", DeleteMode.CASCADE);
    assertThat(tags()).isEmpty();
    assertThat(shelf.memory.list()).isEmpty();
  }

  /** A delete that fails in the middle keeps what it had not touched, and can be repeated. */
  @Test
  void failedCascade() throws Exception {
    shelf.base("base");
    shelf.link("one", "base", 1);
    shelf.link("two", "one", 2);
    // A folder in a file's place cannot be taken away as a file.
    Path inTheWay = manifest("one");
    Files.delete(inTheWay);
    Files.createDirectories(inTheWay.resolve("x"));
    refused(() -> delete("base", DeleteMode.CASCADE), ErrorCode.INTERNAL)
        .hasMessageContaining("snapshots/one");
    assertThat(tags()).containsExactly("base", "one");
    assertThat(shelf.catalog.get(new Tag("one")).warning().orElseThrow()).contains("half deleted");
    assertThat(shelf.page("base", 0, 4)).isEqualTo("base");
    Files.delete(inTheWay.resolve("x"));
    Files.delete(inTheWay);
    delete("base", DeleteMode.CASCADE);
    assertThat(tags()).isEmpty();
    reopen();
    assertThat(shelf.settled).isEmpty();
    assertThat(tags()).isEmpty();
  }

  /** A compacted snapshot reads as its chain does, shares its disk, and needs none of it. */
  @Test
  void compacted() throws Exception {
    shelf.base("base");
    shelf.link("one", "base", 1);
    SnapshotManifest two = shelf.link("two", "one", 2);
    Snapshot made = shelf.compactor.compact(new Tag("two"), new Tag("flat"));
    assertThat(made.status()).isEqualTo(Snapshot.Status.READY);
    assertThat(made.branchMode()).contains("compact");
    assertThat(made.source()).contains(new Tag("two"));
    assertThat(made.branchedFrom()).isEmpty();
    assertThat(made.pauseMillis()).isEmpty();
    SnapshotManifest flat = shelf.catalog.require(new Tag("flat"));
    assertThat(flat.memory()).hasSize(1);
    assertThat(flat.memory().getFirst().parent()).isEmpty();
    assertThat(flat.disk()).isEqualTo(two.disk());
    assertThat(flat.resyncToken()).isEqualTo(two.resyncToken());
    assertThat(detail("two").dependents()).isEmpty();
    delete("base", DeleteMode.CASCADE);
    assertThat(shelf.memory.list()).containsExactly(flat.memory().getFirst().id());
    assertThat(shelf.layers.list()).containsExactly("done", "dtwo", "rbase");
    reopen();
    for (String at : List.of("base 0", "one 1", "two 2")) {
      String[] word = at.split(" ");
      assertThat(shelf.page("flat", Integer.parseInt(word[1]), word[0].length()))
          .isEqualTo(word[0]);
    }
    delete("flat", DeleteMode.REFUSE);
    assertThat(shelf.layers.list()).isEmpty();
  }

  /** What cannot be compacted is refused, and nothing half-made is left by any refusal. */
  @Test
  void refusedCompactions() throws Exception {
    shelf.base("base");
    shelf.link("one", "base", 1);
    Tag one = new Tag("one");
    refused(() -> shelf.compactor.compact(one, one), ErrorCode.INVALID_ARGUMENT);
    refused(() -> shelf.compactor.compact(one, new Tag("base")), ErrorCode.ALREADY_EXISTS);
    refused(() -> shelf.compactor.compact(new Tag("no"), new Tag("x")), ErrorCode.NOT_FOUND);
    Path ram = shelf.dir.ram().resolve("mbase.flat");
    byte[] good = Files.readAllBytes(ram);
    byte[] bad = good.clone();
    bad[500_000] ^= 1;
    Files.write(ram, bad);
    refused(() -> shelf.compactor.compact(one, new Tag("x")), ErrorCode.DATA_LOSS)
        .hasMessageContaining("mbase.flat");
    Files.write(ram, good);
    Path devices = shelf.catalog.devices("one");
    Files.writeString(devices, "other devices");
    refused(() -> shelf.compactor.compact(one, new Tag("x")), ErrorCode.DATA_LOSS)
        .hasMessageContaining("devices.bin");
    Files.writeString(devices, "devices of one");
    // Writing the new image fails, as it does on a full disk.
    Files.delete(shelf.dir.staging());
    refused(() -> shelf.compactor.compact(one, new Tag("x")), ErrorCode.INTERNAL);
    Files.createDirectories(shelf.dir.staging());
    assertThat(tags()).containsExactly("base", "one");
    assertThat(shelf.memory.list()).containsExactly("mbase", "mone");
    assertThat(shelf.store.listSnapshots()).hasSize(2);
    try (var folders = Files.list(shelf.dir.snapshots())) {
      assertThat(folders).hasSize(2);
    }
    assertThat(shelf.compactor.compact(one, new Tag("x")).bootable()).isTrue();
  }

  /** What cannot be undone is not hidden: it keeps its tag, says why, and can be deleted. */
  @Test
  void failedUndo() throws Exception {
    shelf.base("base");
    Path folder = shelf.reserve("x", Optional.of(SnapshotShelf.lineage("base", true)));
    Path inTheWay = folder.resolve(SnapshotFiles.MANIFEST);
    Files.createDirectories(inTheWay.resolve("y"));
    shelf.catalog.abandon(new Tag("x"));
    assertThat(shelf.catalog.get(new Tag("x")).status()).isEqualTo(Snapshot.Status.FAILED);
    assertThat(shelf.catalog.get(new Tag("x")).warning().orElseThrow()).contains("never completed");
    Files.delete(inTheWay.resolve("y"));
    delete("x", DeleteMode.REFUSE);
    assertThat(tags()).containsExactly("base");
    assertThat(shelf.store.listSnapshots()).hasSize(1);
    delete("base", DeleteMode.REFUSE);
  }

  /** A daemon killed while it compacts leaves a row from which the next one undoes it. */
  @Test
  void killedCompactions() throws Exception {
    shelf.base("base");
    SnapshotManifest one = shelf.link("one", "base", 1);
    shelf.reserve("flat", Optional.of(SnapshotShelf.lineage("one", false)));
    shelf.memory.flatten("mflat", one.memory());
    reopen();
    assertThat(shelf.settled).containsExactly("undone: snapshot flat");
    assertThat(tags()).containsExactly("base", "one");
    assertThat(shelf.ledger.isHeld("mflat")).as("the sweep takes it").isFalse();
    try (var folders = Files.list(shelf.dir.snapshots())) {
      assertThat(folders).hasSize(2);
    }
  }

  private Path manifest(String tag) {
    return shelf.dir.snapshot(tag).resolve(SnapshotFiles.MANIFEST);
  }

  private void rewrite(String tag, String old, String now) throws IOException {
    String text = Files.readString(manifest(tag), StandardCharsets.UTF_8);
    assertThat(text).contains(old);
    Files.writeString(manifest(tag), text.replace(old, now));
  }

  /** The tests above count on it. */
  @Test
  void pagesFit() {
    assertThat(SnapshotShelf.PAGES * PageRuns.PAGE_BYTES).isEqualTo(1 << 20);
    assertThat(SnapshotShelf.PAGES).isGreaterThan(33);
  }
}
