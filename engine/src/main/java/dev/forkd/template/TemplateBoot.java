package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.engine.EvalResult;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.TemplateSpec;
import dev.forkd.guest.AgentReady;
import dev.forkd.guest.GuestAgent;
import dev.forkd.guest.Rehearsals;
import java.io.ByteArrayInputStream;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Consumer;

/**
 * What a template's guest does between its boot and its freeze: the user's commands, the services,
 * and the warm-up that every child profits from.
 */
final class TemplateBoot {
  private static final Duration RUN_TIMEOUT = Duration.ofMinutes(30);
  private static final Duration WARM_TIMEOUT = Duration.ofMinutes(5);
  private static final Duration CALL_TIMEOUT = Duration.ofSeconds(60);

  /** Timers, RCU and disk threads come to rest in this time. */
  private static final Duration SETTLE = Duration.ofSeconds(3);

  private static final int WARM_ROUNDS = 10;

  /** What most first requests are made of; run so that their pages and caches are in the image. */
  private static final List<String> WARM_CODE =
      List.of(
          "__import__('json').dumps({'a': 1})",
          "s = 0\nfor i in range(1000): s += i * i\ns",
          "(lambda d: d.pop('s', None))(globals())",
          "1 + 1");

  /** The path that counts most goes last: starting a process write-protects pages. */
  private static final String LAST_CODE =
      "numpy.zeros(5).tolist() if 'numpy' in globals() else [0.0] * 5";

  private static final List<List<String>> WARM_COMMANDS =
      List.of(List.of("true"), List.of("sh", "-c", "echo warm; date +%s.%N; cat /etc/hostname"));

  private final Path home;
  private final TemplateSpec spec;
  private final Consumer<String> progress;

  TemplateBoot(Path home, TemplateSpec spec, Consumer<String> progress) {
    this.home = home;
    this.spec = spec;
    this.progress = progress;
  }

  /** Does all that the template's children shall find done, and comes to rest. */
  void warm(GuestAgent agent, AgentReady ready) {
    spec.known().ifPresent(known -> copyFiles(agent, known));
    for (String command : spec.runCommands()) {
      progress.accept("running: " + command);
      exec(agent, List.of("sh", "-c", command), "template command '" + command + "'");
    }
    spec.known().ifPresent(known -> startServices(agent, known.services()));
    boolean evaluates = ready.evaluator().equals("ready");
    for (String code : spec.warmCode()) {
      progress.accept("warming: " + code.lines().findFirst().orElse(""));
      EvalResult result = agent.eval(code, WARM_TIMEOUT);
      if (result.error().isPresent()) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION,
            "warm code of template '" + spec.tag() + "' raised " + result.error().get());
      }
    }
    progress.accept("warming up");
    for (int round = 0; round < WARM_ROUNDS; round++) {
      for (List<String> command : WARM_COMMANDS) {
        execQuietly(agent, command);
      }
      if (evaluates) {
        WARM_CODE.forEach(code -> agent.eval(code, WARM_TIMEOUT));
      }
    }
    for (int round = 0; evaluates && round < WARM_ROUNDS; round++) {
      agent.eval(LAST_CODE, WARM_TIMEOUT);
    }
    for (int round = 0; round < WARM_ROUNDS; round++) {
      spec.known().ifPresent(known -> Rehearsals.run(agent, known.rehearsals()));
    }
    agent.settle(CALL_TIMEOUT);
    agent.syncDisks(CALL_TIMEOUT);
    sleep(SETTLE);
    if (!agent.idle()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "template '"
              + spec.tag()
              + "' has processes running after its commands; it can only be frozen at rest");
    }
  }

  private void startServices(GuestAgent agent, List<KnownTemplate.Service> services) {
    BootServices.write(agent, services);
    for (KnownTemplate.Service service : services) {
      progress.accept("starting: " + service.command());
      BootServices.startAndAwait(
          agent, service, spec.bootTimeout(), "template '" + spec.tag() + "'");
    }
  }

  private void copyFiles(GuestAgent agent, KnownTemplate known) {
    new OwnFiles(home, known)
        .all()
        .forEach((path, bytes) ->
            agent
                .files()
                .write(
                    path, new ByteArrayInputStream(bytes), OptionalInt.of(0644), Optional.empty()));
  }

  private void exec(GuestAgent agent, List<String> command, String what) {
    OutputTail output = new OutputTail();
    ExecExit exit = agent.exec(ExecSpec.of(command, RUN_TIMEOUT).by("root")).run(output);
    if (!exit.equals(new ExecExit.Exited(0))) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          what + " ended with " + exit.shellStatus() + ": " + output.text());
    }
  }

  /** An image without these programs is no worse for it. */
  private static void execQuietly(GuestAgent agent, List<String> command) {
    try {
      agent.exec(ExecSpec.of(command, CALL_TIMEOUT)).run(Rehearsals.NOBODY);
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.NOT_FOUND) {
        throw e;
      }
    }
  }

  static void sleep(Duration time) {
    try {
      Thread.sleep(time);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while a guest booted", e);
    }
  }
}
