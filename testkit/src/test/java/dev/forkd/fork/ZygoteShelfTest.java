package dev.forkd.fork;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;

import dev.forkd.api.Threads;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.testkit.Workbench;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCopier;
import dev.forkd.vmm.VmExit;
import dev.forkd.vmm.VmProcess;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Who gets a zygote, and when one ends. */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
class ZygoteShelfTest {
  private static final CompletableFuture<VmExit> ENDED =
      CompletableFuture.completedFuture(new VmExit("killed"));

  @TempDir Path root;

  private final List<String> forgotten = Collections.synchronizedList(new ArrayList<>());
  private final AtomicInteger ends = new AtomicInteger();
  private Workbench bench;
  private SnapshotManifest base;
  private ZygoteShelf shelf;

  @BeforeEach
  void open() throws IOException {
    bench = new Workbench(root).withBase();
    base = bench.snapshots.require(Workbench.BASE);
    shelf = new ZygoteShelf(bench.memory, bench.snapshots, forgotten::add);
  }

  @AfterEach
  void close() {
    bench.close();
  }

  /** One that stands on this test's own process, and looks for its end as it is told. */
  private Zygote zygote(String id, Supplier<CompletableFuture<VmExit>> exit) {
    ProcessIdentity here = ProcessIdentity.of(ProcessHandle.current().pid());
    VmProcess process = new VmProcess(Math.toIntExact(here.pid()), here.startTicks());
    RunningVm vm =
        proxy(
            RunningVm.class,
            method ->
                switch (method) {
                  case "process" -> process;
                  case "exit" -> exit.get();
                  default -> throw new UnsupportedOperationException(method);
                });
    VmCopier copier =
        proxy(
            VmCopier.class,
            method ->
                switch (method) {
                  case "close" -> ends.incrementAndGet();
                  default -> throw new UnsupportedOperationException(method);
                });
    return new Zygote(id, base, vm, copier, new Zygote.Origin("mbase", 1, "ab", true, false));
  }

  private interface Answer {
    Object to(String method);
  }

  private static <T> T proxy(Class<T> type, Answer answer) {
    return type.cast(
        Proxy.newProxyInstance(
            type.getClassLoader(),
            new Class<?>[] {type},
            (_, method, _) -> {
              Object said = answer.to(method.getName());
              return method.getReturnType() == void.class ? null : said;
            }));
  }

  private Zygote living(String id) {
    return zygote(id, CompletableFuture::new);
  }

  /** One that was killed is found by nobody, ends once and leaves nothing. */
  @Test
  void aDeadOneIsNotFound() {
    shelf.register(zygote("dead", () -> ENDED));
    assertThat(shelf.find(base)).isEmpty();
    assertThat(forgotten).containsExactly("dead");
    shelf.endAll();
    assertThat(ends).hasValue(1);
  }

  /** One that was killed while it is in use ends when it is left. */
  @Test
  void aDeadOneEndsWithItsLastUser() {
    CompletableFuture<VmExit> exit = new CompletableFuture<>();
    shelf.register(zygote("dying", () -> exit));
    ZygoteShelf.Lease user = shelf.find(base).orElseThrow();
    exit.complete(new VmExit("killed"));
    assertThat(shelf.find(base)).isEmpty();
    assertThat(forgotten).isEmpty();
    // Another one is taken in meanwhile, and stays.
    shelf.register(living("new"));
    user.close();
    assertThat(forgotten).containsExactly("dying");
    try (ZygoteShelf.Lease found = shelf.find(base).orElseThrow()) {
      assertThat(found.zygote().id()).isEqualTo("new");
    }
  }

  /** Looking whether one is alive may take its time: nobody else waits for that. */
  @Test
  void aSlowLookHoldsUpNobodyElse() throws Exception {
    CountDownLatch looking = new CountDownLatch(1);
    CountDownLatch seen = new CountDownLatch(1);
    shelf.register(
        zygote(
            "slow",
            () -> {
              looking.countDown();
              await(seen);
              return new CompletableFuture<>();
            }));
    CompletableFuture<Boolean> found = new CompletableFuture<>();
    Threads.virtual("slow-look", () -> found.complete(shelf.find(base).isPresent()));
    await(looking);
    CompletableFuture<Void> others =
        CompletableFuture.runAsync(() -> {
          shelf.making("other").close();
          shelf.prune();
        });
    try {
      assertThatCode(() -> others.get(10, TimeUnit.SECONDS)).doesNotThrowAnyException();
      assertThat(found).isNotDone();
    } finally {
      seen.countDown();
    }
    assertThat(found.get(10, TimeUnit.SECONDS)).isTrue();
  }

  private static void await(CountDownLatch latch) {
    try {
      assertThat(latch.await(20, TimeUnit.SECONDS)).isTrue();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new AssertionError(e);
    }
  }

  /** Of one tag one is made at a time; nothing is kept of a tag once nobody waits for it. */
  @Test
  void nothingIsKeptOfWhoMadeOne() throws Exception {
    CompletableFuture<Void> second;
    try (ZygoteShelf.Making _ = shelf.making("a")) {
      second = CompletableFuture.runAsync(() -> shelf.making("a").close());
      shelf.making("b").close();
      assertThat(shelf.beingMade()).containsExactly("a");
      assertThat(second).isNotDone();
    }
    second.get(10, TimeUnit.SECONDS);
    assertThat(shelf.beingMade()).isEmpty();
  }
}
