package dev.forkd.sandbox;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.Certificate;
import dev.forkd.guest.EpochProof;
import dev.forkd.guest.EpochRequest;
import dev.forkd.guest.GuestAgent;
import dev.forkd.snapshot.SnapshotFiles;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.LockSupport;

/**
 * The fork handshake: gives a fresh child its own epoch, time, entropy and identity, and checks the
 * proof its agent answers with. Nothing the child's parent left behind runs before that.
 */
public final class Handshake {
  /** How often a child's clock is read; between two times there is a pause, longer each time. */
  private static final int CLOCK_ATTEMPTS = 10;

  private static final Duration CLOCK_PAUSE = Duration.ofMillis(20);

  private static final int ENTROPY_BYTES = 64;
  private static final Duration PATIENCE = Duration.ofSeconds(20);
  private static final Duration DOUBT_PATIENCE = Duration.ofSeconds(3);
  private static final SecureRandom RANDOM = new SecureRandom();
  private static final HexFormat HEX = HexFormat.of();

  /** Hashes of the samples of all children of this process: the same twice is two twins. */
  private final Set<String> seen = ConcurrentHashMap.newKeySet();

  private final Duration patience;

  /** With the patience that a stalled host may need. */
  public Handshake() {
    this(PATIENCE);
  }

  /**
   * @param patience how long a guest may take for one answer
   */
  public Handshake(Duration patience) {
    this.patience = patience;
  }

  private static String hostname(String id) {
    return "forkd-" + id;
  }

  /**
   * Runs the handshake with a child whose vCPUs run.
   *
   * @param ownToken what the agent is to listen for from now on
   * @throws ForkdException when the guest does not answer, or its proof is wrong
   */
  Certificate perform(String id, GuestAgent agent, List<Greeting> greetings, byte[] ownToken) {
    long begin = System.nanoTime();
    greet(agent, greetings);
    Epoch epoch =
        new Epoch(
            id, RANDOM.nextLong(1, 1L << 53), HEX.formatHex(randomBytes(16)), ownToken, agent);
    Begun begun = begin(epoch);
    ClockProbe probe = new ClockProbe(agent);
    for (int attempt = 1; !begun.clock().right(); attempt++) {
      if (attempt == CLOCK_ATTEMPTS || System.nanoTime() - begin > patience.toNanos()) {
        throw refused(id, clockOff(begun.clock(), attempt));
      }
      // The host may have been busy with other things for a moment: no reason to end a child.
      LockSupport.parkNanos(CLOCK_PAUSE.toNanos() * attempt);
      begun = readAgain(epoch, begun, probe);
    }
    EpochProof proof = begun.proof();
    ClockReading clock = begun.clock();
    String random = SnapshotFiles.sha256(proof.random());
    Optional<String> interpreter = proof.interpreter().map(SnapshotFiles::sha256);
    if (!proof.reseeded()) {
      throw refused(id, "its kernel's random generator was not reseeded");
    }
    if (proof.random().length < 32 || !seen.add(random)) {
      throw refused(id, "its random sample is short or was seen before");
    }
    if (interpreter.isPresent() && !seen.add(interpreter.get())) {
      throw refused(id, "its interpreter's random sample was seen before");
    }
    return new Certificate(
        Certificate.State.VERIFIED,
        Optional.of(Long.toHexString(epoch.number())),
        Optional.of(proof.hostname()),
        Optional.of(proof.machineId()),
        Optional.of(random),
        interpreter,
        OptionalLong.of(Math.round(clock.offsetNanos() / 1e6)),
        OptionalLong.of(Math.ceilDiv(clock.errorMaxNanos(), 1_000_000)),
        OptionalLong.of((System.nanoTime() - begin) / 1_000_000),
        OptionalLong.of(System.currentTimeMillis()),
        Optional.empty());
  }

  /** What a child is to become. */
  @SuppressWarnings("ArrayRecordComponent")
  private record Epoch(
      String id, long number, String machineId, byte[] ownToken, GuestAgent agent) {}

  /** A child that has become it, as far as it says. */
  private record Begun(EpochProof proof, ClockReading clock) {}

  private Begun begin(Epoch epoch) {
    String id = epoch.id();
    long sentNanos = unixNanos();
    EpochProof proof =
        epoch
            .agent()
            .epoch(
                new EpochRequest(
                    epoch.number(),
                    sentNanos,
                    randomBytes(ENTROPY_BYTES),
                    hostname(id),
                    epoch.machineId(),
                    epoch.ownToken()),
                patience);
    ClockReading clock = ClockReading.of(sentNanos, proof.clockNanos(), unixNanos());
    check(id, "epoch", Long.toString(epoch.number()), Long.toString(proof.epoch()));
    check(id, "hostname", hostname(id), proof.hostname());
    check(id, "machine-id", epoch.machineId(), proof.machineId());
    return new Begun(proof, clock);
  }

  /** An older agent tells its time with an epoch only: the same one is begun again. */
  private Begun readAgain(Epoch epoch, Begun begun, ClockProbe probe) {
    Optional<ClockReading> clock = begun.clock().off() ? probe.set(patience) : probe.read(patience);
    return clock.map(now -> new Begun(begun.proof(), now)).orElseGet(() -> begin(epoch));
  }

  /**
   * One way to begin the conversation.
   *
   * @param token what the agent may be listening for
   * @param patience until the next way is tried
   */
  @SuppressWarnings("ArrayRecordComponent")
  public record Greeting(byte[] token, Duration patience) {}

  /** How a child that nobody has talked to is greeted. */
  public List<Greeting> fresh(byte[] snapshotToken) {
    return List.of(new Greeting(snapshotToken, patience));
  }

  /**
   * How a child is greeted whose former host may have ended in the middle of the handshake: nobody
   * knows whether it has its own token already. That one is tried first, since an agent that does
   * not listen for it takes no notice.
   */
  List<Greeting> inDoubt(byte[] snapshotToken, byte[] ownToken) {
    return List.of(
        new Greeting(ownToken, DOUBT_PATIENCE),
        new Greeting(snapshotToken, patience),
        new Greeting(ownToken, patience));
  }

  /**
   * Gives a VM that is no sandbox an epoch which nobody will keep, so that it has done once what
   * its copies will do.
   *
   * @return what its agent listens for now
   */
  public byte[] rehearse(String id, GuestAgent agent) {
    byte[] token = randomBytes(32);
    agent.epoch(
        new EpochRequest(
            RANDOM.nextLong(1, 1L << 53),
            unixNanos(),
            randomBytes(ENTROPY_BYTES),
            hostname(id),
            HEX.formatHex(randomBytes(16)),
            token),
        patience);
    var _ = agent.askClock(patience);
    return token;
  }

  /** Begins the conversation in the first of these ways that the agent answers. */
  public void greet(GuestAgent agent, List<Greeting> greetings) {
    for (int i = 0; i < greetings.size(); i++) {
      agent.beginSync(greetings.get(i).token());
      try {
        agent.awaitSync(greetings.get(i).patience());
        return;
      } catch (ForkdException e) {
        if (e.code() != ErrorCode.DEADLINE_EXCEEDED || i == greetings.size() - 1) {
          throw e;
        }
      }
    }
  }

  private static String clockOff(ClockReading clock, int attempts) {
    return "its clock may be off by "
        + Math.ceilDiv(clock.errorMaxNanos(), 1_000_000)
        + " ms after it was set and read "
        + attempts
        + " times, and at most "
        + GuestClock.ERROR_MAX.toMillis()
        + " ms are right; is the host overloaded?";
  }

  /** Drops what is remembered about a child that is gone. */
  public void forget(Certificate certificate) {
    certificate.randomSha256().ifPresent(seen::remove);
    certificate.interpreterSha256().ifPresent(seen::remove);
  }

  /** Remembers the samples of a child adopted from a former process. */
  public void remember(Certificate certificate) {
    certificate.randomSha256().ifPresent(seen::add);
    certificate.interpreterSha256().ifPresent(seen::add);
  }

  private static void check(String id, String what, String expected, String actual) {
    if (!expected.equals(actual)) {
      throw refused(id, "its " + what + " is '" + actual + "', expected '" + expected + "'");
    }
  }

  private static ForkdException refused(String id, String why) {
    return new ForkdException(
        ErrorCode.ABORTED,
        "sandbox " + id + " failed its fork handshake: " + why + ". It is never served; fork again",
        Map.of("sandbox", id),
        null);
  }

  /** Wall clock with the finest resolution the host has. */
  public static long unixNanos() {
    var now = java.time.Instant.now();
    return Math.addExact(Math.multiplyExact(now.getEpochSecond(), 1_000_000_000L), now.getNano());
  }

  static byte[] randomBytes(int count) {
    byte[] bytes = new byte[count];
    RANDOM.nextBytes(bytes);
    return bytes;
  }
}
