package dev.forkd.sandbox;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.LongSupplier;

/**
 * The guests that run beyond their turns: long commands, and what users left in the background. Too
 * many of them would slow each other, and everybody who has a turn, down to nothing. So those above
 * a bound are parked, which is paused with work to do, and every slice the parked change places
 * with those that have run longest.
 *
 * <p>Guests that hardly use the CPU (a shell that waits, a sleeping server) cost little and do not
 * count against the first bound, only against a much higher one: parking them would stretch their
 * sleep for no gain.
 *
 * <p>Guarded by the lock of {@link Admission}.
 */
final class Overtime {
  /** A request that ended leaves the guest busy for a moment; parking is not decided upon that. */
  static final Duration CHECK_DELAY = Duration.ofMillis(20);

  /** Part of a core below which a guest is quiet. */
  private static final double QUIET_SHARE = 0.05;

  /** CPU time is counted in hundredths of a second: a shorter look says nothing. */
  private static final Duration SHORTEST_LOOK = Duration.ofMillis(400);

  /** CPU time that a guest has used at a moment. */
  record Use(Claim claim, Optional<Duration> cpu, long atNanos) {}

  private final Admission.Rules rules;
  private final LongSupplier nanoClock;
  private final Set<Claim> members = new LinkedHashSet<>();
  private int parked;
  private boolean checkDue;
  private boolean rotationDue;

  Overtime(Admission.Rules rules, LongSupplier nanoClock) {
    this.rules = rules;
    this.nanoClock = nanoClock;
  }

  int running() {
    return members.size() - parked;
  }

  int parked() {
    return parked;
  }

  /**
   * Its guest runs beyond its turn. One that was here before the turn is what it was then: a
   * request to a parked guest must not get the others off the cores.
   *
   * @return whether it has to be parked now
   */
  boolean add(Claim claim) {
    if (!members.add(claim)) {
      return false;
    }
    if (!claim.lent) {
      claim.sinceNanos = nanoClock.getAsLong();
      claim.quiet = false;
      claim.cpuSeenNanos = 0;
    } else if (claim.parkedBefore && claim.steady == 0) {
      claim.parked = true;
      parked++;
    }
    claim.lent = false;
    return claim.parked;
  }

  /** Its guest gets a turn. */
  void lend(Claim claim) {
    claim.lent = members.contains(claim);
    claim.parkedBefore = claim.parked;
    take(claim);
  }

  /** Its guest has no more work. */
  void remove(Claim claim) {
    claim.lent = false;
    take(claim);
  }

  private void take(Claim claim) {
    if (members.remove(claim) && claim.parked) {
      claim.parked = false;
      parked--;
    }
  }

  /** True once for every check that has to be arranged. */
  boolean needsCheck() {
    boolean crowded = running() > rules.busyMax() || (parked > 0 && running() < rules.busyMax());
    if (checkDue || !crowded) {
      return false;
    }
    checkDue = true;
    return true;
  }

  /** After a check: true if another one has to be arranged a slice later. */
  boolean needsRotation() {
    boolean crowded = running() > rules.busyMax() || parked > 0;
    if (rotationDue || !crowded) {
      return false;
    }
    rotationDue = true;
    return true;
  }

  List<Claim> toMeasure() {
    return members.stream().filter(claim -> !claim.parked).toList();
  }

  private static void note(Use use) {
    Claim claim = use.claim();
    Duration cpu = use.cpu().orElse(claim.cpuSeen);
    if (claim.cpuSeenNanos != 0) {
      long lookNanos = use.atNanos() - claim.cpuSeenNanos;
      if (lookNanos < SHORTEST_LOOK.toNanos()) {
        return;
      }
      claim.quiet = (double) cpu.minus(claim.cpuSeen).toNanos() / lookNanos < QUIET_SHARE;
    }
    claim.cpuSeen = cpu;
    claim.cpuSeenNanos = use.atNanos();
  }

  /** Decides anew who runs and who is parked; gives those for whom that has changed. */
  List<Claim> check(List<Use> uses, boolean rotation) {
    if (rotation) {
      rotationDue = false;
    } else {
      checkDue = false;
    }
    uses.stream()
        .filter(use -> members.contains(use.claim()) && !use.claim().parked)
        .forEach(Overtime::note);
    long now = nanoClock.getAsLong();
    List<Claim> order = new ArrayList<>(members);
    order.sort(
        Comparator.comparingInt((Claim claim) -> rank(claim, now))
            .thenComparingLong(
                claim -> rank(claim, now) == 3 ? -claim.sinceNanos : claim.sinceNanos));
    List<Claim> changed = new ArrayList<>();
    int busy = 0;
    int running = 0;
    for (Claim claim : order) {
      boolean run =
          claim.steady > 0
              || (running < rules.overtimeMax() && (claim.quiet || busy < rules.busyMax()));
      if (run) {
        running++;
        busy += claim.quiet ? 0 : 1;
      }
      if (run == claim.parked) {
        claim.parked = !run;
        parked += run ? -1 : 1;
        claim.sinceNanos = now;
        claim.cpuSeenNanos = 0;
        changed.add(claim);
      }
    }
    return changed;
  }

  /** Who comes first when there is not room for all. */
  private int rank(Claim claim, long now) {
    if (claim.steady > 0) {
      return 0;
    }
    if (claim.parked) {
      return 2;
    }
    return now - claim.sinceNanos < rules.slice().toNanos() ? 1 : 3;
  }
}
