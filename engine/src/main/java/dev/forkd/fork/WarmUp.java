package dev.forkd.fork;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecSpec;
import dev.forkd.guest.GuestAgent;
import dev.forkd.guest.Rehearsals;
import dev.forkd.sandbox.Handshake;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import java.io.ByteArrayInputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * Lets a VM do what most children are asked first, so that what its monitor has prepared for that
 * (under emulation: translated code) is there in all copies of it.
 */
public final class WarmUp {
  private static final Duration TIMEOUT = Duration.ofSeconds(30);

  /** Rounds after which another one makes the next no cheaper. */
  private static final int ROUNDS = 4;

  /** Deferred work in the guest comes to rest in this time. */
  private static final Duration SETTLE = Duration.ofMillis(300);

  private static final String FILE = "/tmp/.forkd-warm";

  private static final List<String> CODE =
      List.of(
          "numpy.zeros(5).tolist() if 'numpy' in globals() else [0.0] * 5",
          "import os, random, uuid, time; (random.random(), str(uuid.uuid4()), time.time())[0] >= 0",
          "None");

  private final Handshake handshake;
  private final Sandbox.AgentConnector agents;

  public WarmUp(Handshake handshake, Sandbox.AgentConnector agents) {
    this.handshake = handshake;
    this.agents = agents;
  }

  /**
   * What a warmed VM is left with.
   *
   * @param token hex; what its agent listens for now
   * @param agent the connection to it: were it closed, the monitor's end would be too, and copies
   *     would have none
   */
  record Warmed(String token, GuestAgent agent) {}

  /**
   * Runs a paused VM for some hundred milliseconds and pauses it again.
   *
   * @param token hex; what its agent listens for
   * @param rehearsals run beside what every guest can do
   */
  Warmed run(String id, RunningVm vm, String token, List<KnownTemplate.Rehearsal> rehearsals) {
    GuestAgent agent = agents.connect(vm, id, () -> {}, why -> {});
    try {
      vm.execute(new VmCommand.Resume());
      handshake.greet(agent, handshake.fresh(HexFormat.of().parseHex(token)));
      byte[] current = new byte[0];
      for (int round = 0; round < ROUNDS; round++) {
        current = round(id, agent, rehearsals);
      }
      Thread.sleep(SETTLE);
      vm.execute(new VmCommand.Pause());
      return new Warmed(HexFormat.of().formatHex(current), agent);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while warming " + id, e);
    }
  }

  private byte[] round(String id, GuestAgent agent, List<KnownTemplate.Rehearsal> rehearsals) {
    agent.clock(Handshake.unixNanos());
    byte[] token = handshake.rehearse(id, agent);
    for (String code : CODE) {
      unlessUnknown(() -> agent.eval(code, TIMEOUT));
    }
    unlessUnknown(() -> agent.exec(ExecSpec.of(List.of("true"), TIMEOUT)).run(nobody()));
    unlessUnknown(
        () -> agent.exec(ExecSpec.of(List.of("sh", "-c", "echo warm"), TIMEOUT)).run(nobody()));
    byte[] text = "warm".getBytes(StandardCharsets.UTF_8);
    unlessUnknown(() ->
        agent
            .files()
            .write(FILE, new ByteArrayInputStream(text), OptionalInt.empty(), Optional.empty()));
    unlessUnknown(() -> agent.files().read(FILE, OutputStream.nullOutputStream()));
    unlessUnknown(() -> agent.files().list("/", _ -> {}));
    unlessUnknown(() -> agent.files().remove(FILE));
    Rehearsals.run(agent, rehearsals);
    return token;
  }

  /** An image without an interpreter, or without a program, is no worse for it. */
  private static void unlessUnknown(Runnable work) {
    try {
      work.run();
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.UNIMPLEMENTED && e.code() != ErrorCode.NOT_FOUND) {
        throw e;
      }
    }
  }

  private static ExecListener nobody() {
    return new ExecListener() {
      @Override
      public void stdout(byte[] chunk) {}

      @Override
      public void stderr(byte[] chunk) {}
    };
  }
}
