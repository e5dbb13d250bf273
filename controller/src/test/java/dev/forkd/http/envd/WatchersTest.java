package dev.forkd.http.envd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.SandboxId;
import dev.forkd.engine.GuestWatch;
import dev.forkd.http.TestDaemon;
import dev.forkd.http.connect.ConnectCode;
import dev.forkd.http.connect.ConnectException;
import dev.forkd.testkit.FakeEngine;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What is kept for clients that ask for events from time to time has bounds, also in time. */
class WatchersTest {
  private final AtomicLong nowNanos = new AtomicLong();
  private final AtomicInteger open = new AtomicInteger();
  private final List<GuestWatch> listeners = new ArrayList<>();
  private final Watchers watchers = new Watchers(nowNanos::get);
  private final FakeEngine engine = new FakeEngine();
  private final Guest guest =
      new Guest("i1", new SandboxId("sb1"), engine, Map.of(), _ -> () -> {});

  @AfterEach
  void close() {
    watchers.close();
    engine.close();
  }

  private String make() {
    return make(guest);
  }

  private String make(Guest of) {
    return watchers.make(
        of,
        listener -> {
          listeners.add(listener);
          open.incrementAndGet();
          return open::decrementAndGet;
        });
  }

  private static GuestWatch.Change change(String name) {
    return new GuestWatch.Change(GuestWatch.Kind.CREATED, name, Optional.empty());
  }

  private static boolean isExhausted(Throwable e) {
    return e instanceof ConnectException known && known.code() == ConnectCode.RESOURCE_EXHAUSTED;
  }

  /** A sandbox has so many, and one that is removed makes room. */
  @Test
  void number() {
    String first = make();
    for (int i = 1; i < Watchers.WATCHERS_MAX; i++) {
      make();
    }
    assertThatThrownBy(this::make).matches(WatchersTest::isExhausted);
    watchers.remove(guest, first);
    make();
    assertThat(open).hasValue(Watchers.WATCHERS_MAX);
  }

  /** Those whose clients are gone do not keep others out, nor the guest awake. */
  @Test
  void rest() {
    String kept = make();
    for (int i = 1; i < Watchers.WATCHERS_MAX; i++) {
      make();
    }
    nowNanos.addAndGet(Watchers.REST_MAX.toNanos() / 2);
    assertThat(watchers.drain(guest, kept)).isEmpty();
    nowNanos.addAndGet(Watchers.REST_MAX.toNanos() / 2 + 1);
    watchers.sweep();
    await().atMost(TestDaemon.PATIENCE).untilAtomic(open, org.hamcrest.Matchers.is(1));
    assertThat(watchers.count()).isEqualTo(1);
    make();
    assertThat(watchers.drain(guest, kept)).isEmpty();
  }

  /** More events than are kept end the watcher, and its client hears of it once. */
  @Test
  void events() {
    String id = make();
    for (int i = 0; i < Watchers.EVENTS_MAX; i++) {
      listeners.getFirst().changed(change("f" + i));
    }
    assertThat(watchers.drain(guest, id)).hasSize(Watchers.EVENTS_MAX);
    for (int i = 0; i <= Watchers.EVENTS_MAX; i++) {
      listeners.getFirst().changed(change("f" + i));
    }
    assertThatThrownBy(() -> watchers.drain(guest, id))
        .matches(WatchersTest::isExhausted)
        .hasMessageContaining("lost events");
    assertThatThrownBy(() -> watchers.drain(guest, id)).hasMessageContaining("not found");
    assertThat(open).hasValue(0);
  }

  /** Long names count for what they take, and what is asked for makes room again. */
  @Test
  void bytes() {
    String id = make();
    String name = "n".repeat(4000);
    int fit = Watchers.EVENT_BYTES_MAX / (2 * name.length() + 200);
    for (int round = 0; round < 3; round++) {
      for (int i = 0; i < fit; i++) {
        listeners.getFirst().changed(change(name));
      }
      assertThat(watchers.drain(guest, id)).hasSize(fit);
    }
    for (int i = 0; i < 2 * fit; i++) {
      listeners.getFirst().changed(change(name));
    }
    assertThatThrownBy(() -> watchers.drain(guest, id)).matches(WatchersTest::isExhausted);
  }

  /** A sandbox that never asks for its events loses them alone: others have room for theirs. */
  @Test
  void oneSandboxDoesNotTakeTheRoomOfOthers() {
    String name = "n".repeat(4000);
    int fit = Watchers.EVENT_BYTES_MAX / (2 * name.length() + 200);
    List<String> greedy = new ArrayList<>();
    for (int i = 0; i < Watchers.WATCHERS_MAX; i++) {
      greedy.add(make());
      for (int event = 0; event < fit; event++) {
        listeners.getLast().changed(change(name));
      }
    }
    Guest other = new Guest("i2", new SandboxId("sb2"), engine, Map.of(), _ -> () -> {});
    List<String> modest = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      modest.add(make(other));
      for (int event = 0; event < fit; event++) {
        listeners.getLast().changed(change(name));
      }
    }
    for (String id : modest) {
      assertThat(watchers.drain(other, id)).hasSize(fit);
    }
    assertThat(watchers.drain(guest, greedy.getFirst())).hasSize(fit);
    assertThatThrownBy(() -> watchers.drain(guest, greedy.getLast()))
        .matches(WatchersTest::isExhausted);
  }
}
