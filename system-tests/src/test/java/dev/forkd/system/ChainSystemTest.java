package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.SnapshotDetail;
import dev.forkd.sdk.BranchOptions;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.Sandbox;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.assertj.core.api.AbstractThrowableAssert;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;

/** Snapshots that each hold what was added to their parent. */
class ChainSystemTest {
  private static final Pattern FIRST_IMAGE =
      Pattern.compile("\"memory\" : \\[ \\{\\s*\"id\" : \"(\\w+)\"");

  @AfterEach
  void clean() {
    Lab.clean(Lab.engine());
  }

  /** Forks a child of {@code parent}, lets it write {@code name} into memory and disk, branches. */
  private static Snapshot link(String name, String parent) {
    SandboxId child = Lab.fork(new Tag(parent), 1).getFirst();
    Lab.eval(child, name + " = ['" + name + "'] * 400000");
    Lab.sh(child, "echo " + name + " > /root/" + name);
    Snapshot made =
        Lab.engine()
            .branch(
                child,
                new BranchSpec(
                    Optional.of(new Tag(name)),
                    BranchSpec.Mode.DIFF,
                    Optional.of(new Tag(parent))));
    Lab.engine().kill(child);
    return made;
  }

  /** A base that may be deleted, and three links on it. */
  private static void chainOfThree() {
    SandboxId child = Lab.forkOne();
    Lab.eval(child, "base = 'base'");
    Lab.branch(child, "base", BranchSpec.Mode.DIFF);
    Lab.engine().kill(child);
    link("one", "base");
    link("two", "one");
    link("three", "two");
  }

  private static void assertHasAll(String tag) {
    SandboxId child = Lab.fork(new Tag(tag), 1).getFirst();
    assertThat(Lab.eval(child, "(base, one[-1], two[-1], three[-1], len(one))"))
        .isEqualTo("('base', 'one', 'two', 'three', 400000)");
    assertThat(Lab.sh(child, "cat /root/one /root/two /root/three")).isEqualTo("one\ntwo\nthree\n");
    Lab.engine().kill(child);
  }

  private static SnapshotDetail detail(String tag) {
    return Lab.engine().snapshotDetail(new Tag(tag));
  }

  private static void delete(String tag, DeleteMode mode) {
    Lab.engine().deleteSnapshot(new Tag(tag), mode);
  }

  private static AbstractThrowableAssert<?, ?> refused(ThrowingCallable call, ErrorCode code) {
    return assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).as(e.message()).isEqualTo(code));
  }

  /** Each link holds its own pages only; a child of the last has what all of them added. */
  @Test
  void linksAddUp() {
    chainOfThree();
    List<String> below = List.of("base", "one", "two");
    for (int depth = 1; depth <= 3; depth++) {
      String tag = List.of("one", "two", "three").get(depth - 1);
      SnapshotDetail link = detail(tag);
      assertThat(link.chainDepth()).isEqualTo(depth);
      assertThat(link.ancestors()).extracting(Tag::value).isEqualTo(below.subList(0, depth));
      assertThat(link.parentContentHash()).contains(detail(below.get(depth - 1)).contentHash());
      long diverged = Lab.engine().snapshot(new Tag(tag)).diffPhysicalBytes().orElseThrow();
      assertThat(link.memoryPhysicalBytes()).isBetween(diverged, diverged + (1 << 20));
      assertThat(link.memoryPhysicalBytes()).isLessThan(detail("python").memoryPhysicalBytes() / 2);
    }
    assertThat(detail("one").dependents()).containsExactly(new Tag("two"));
    assertHasAll("three");
    Lab.release();
    assertHasAll("three");
  }

  /** What is stood on is protected; cascade takes all above it, force leaves them working. */
  @Test
  void deletes() throws Exception {
    chainOfThree();
    refused(() -> delete("one", DeleteMode.REFUSE), ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("1 dependent (two)")
        .hasMessageContaining("?cascade=true");
    delete("one", DeleteMode.FORCE);
    refused(() -> detail("three"), ErrorCode.DATA_LOSS).hasMessageContaining("'one'");
    assertHasAll("three");
    Lab.release();
    assertHasAll("three");
    Lab.engine().compact(new Tag("three"), new Tag("flat"));
    delete("two", DeleteMode.CASCADE);
    delete("base", DeleteMode.CASCADE);
    assertThat(Lab.engine().snapshots())
        .extracting(snapshot -> snapshot.tag().value())
        .containsExactly("flat", "python");
    assertThat(Lab.contents("ram")).hasSize(2);
    assertHasAll("flat");
    Lab.release();
    assertHasAll("flat");
    assertThat(detail("flat").chainDepth()).isZero();
    delete("flat", DeleteMode.REFUSE);
    assertThat(Lab.contents("ram")).hasSize(1);
  }

  /** A byte that changed in an ancestor's memory is found before a child maps it. */
  @Test
  void damagedAncestor() throws Exception {
    chainOfThree();
    Lab.release();
    String manifest = Files.readString(Lab.DATA_DIR.resolve("snapshots/one/snapshot.json"));
    Matcher image = FIRST_IMAGE.matcher(manifest);
    assertThat(image.find()).isTrue();
    Path file = Lab.DATA_DIR.resolve("ram/" + image.group(1) + ".delta");
    // One in the index of pages, one in the pages.
    for (long at : new long[] {30, Files.size(file) - 1000}) {
      flip(file, at);
      refused(() -> Lab.fork(new Tag("three"), 1), ErrorCode.DATA_LOSS)
          .hasMessageContaining(file.toString());
      refused(() -> Lab.engine().compact(new Tag("three"), new Tag("x")), ErrorCode.DATA_LOSS)
          .hasMessageContaining(file.toString());
      flip(file, at);
    }
    assertHasAll("three");
    assertThat(Lab.engine().snapshots())
        .extracting(snapshot -> snapshot.tag().value())
        .doesNotContain("x");
  }

  private static void flip(Path file, long at) throws IOException {
    try (RandomAccessFile bytes = new RandomAccessFile(file.toFile(), "rw")) {
      bytes.seek(at);
      int old = bytes.read();
      bytes.seek(at);
      bytes.write(old ^ 1);
    }
  }

  /** As many links as there may be, one more refused, and on from the compacted copy. */
  @Test
  @EnabledIfEnvironmentVariable(named = "FORKD_TEST_ALL", matches = "1")
  @Timeout(value = 10, unit = TimeUnit.MINUTES)
  void thirtyTwoLinks() {
    SandboxId child = Lab.forkOne();
    Lab.branch(child, "t0", BranchSpec.Mode.DIFF);
    Lab.engine().kill(child);
    for (int i = 1; i <= 32; i++) {
      link("t" + i, "t" + (i - 1));
    }
    assertThat(detail("t32").chainDepth()).isEqualTo(32);
    refused(() -> link("t33", "t32"), ErrorCode.FAILED_PRECONDITION)
        .hasMessageContaining("compact");
    Lab.release();
    assertDeep("t32");
    Lab.engine().compact(new Tag("t32"), new Tag("flat"));
    delete("t0", DeleteMode.CASCADE);
    link("t33", "flat");
    assertDeep("t33");
  }

  private static void assertDeep(String tag) {
    SandboxId child = Lab.fork(new Tag(tag), 1).getFirst();
    assertThat(Lab.eval(child, "[globals()['t%d' % i][-1] == 't%d' % i for i in range(1, 33)]"))
        .isEqualTo("[" + "True, ".repeat(31) + "True]");
    assertThat(Lab.sh(child, "cat $(seq -f /root/t%g 32) | wc -l").strip()).isEqualTo("32");
    Lab.engine().kill(child);
  }

  /** A daemon killed while it compacts leaves the new snapshot whole or not at all. */
  @Test
  @EnabledIfEnvironmentVariable(named = "FORKD_TEST_ALL", matches = "1")
  @Timeout(value = 5, unit = TimeUnit.MINUTES)
  void killedWhileCompacting() throws Exception {
    long seed = System.nanoTime();
    System.out.println("ChainSystemTest.killedWhileCompacting seed " + seed);
    Random random = new Random(seed);
    Lab.engine();
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client();
        Sandbox child = forkd.fork("python")) {
      child.eval("n = list(range(10**6))");
      child.branch(BranchOptions.diff().tag("link").withParent());
    }
    for (int round = 0; round < 4; round++) {
      try (Daemon daemon = Daemon.start();
          Forkd forkd = daemon.client()) {
        Thread work =
            Thread.ofPlatform()
                .start(() -> {
                  try {
                    forkd.snapshot("link").compact("flat");
                  } catch (ForkdApiException e) {
                    return; // it was killed
                  }
                });
        Thread.sleep(random.nextInt(700));
        daemon.kill();
        work.join();
      }
      List<String> tags =
          Lab.engine().snapshots().stream().map(snapshot -> snapshot.tag().value()).toList();
      assertThat(Lab.unfinished()).isEmpty();
      if (tags.contains("flat")) {
        SandboxId grand = Lab.fork(new Tag("flat"), 1).getFirst();
        assertThat(Lab.eval(grand, "len(n)")).as("seed %d", seed).isEqualTo("1000000");
        Lab.engine().kill(grand);
        delete("flat", DeleteMode.REFUSE);
      }
      assertThat(Lab.contents("ram")).as("seed %d", seed).hasSize(2);
      assertThat(Lab.contents("snapshots")).containsExactly("link", "python");
    }
  }
}
