package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.engine.EvalResult;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ProcessListener;
import dev.forkd.engine.ProcessSpec;
import dev.forkd.engine.ProcessStream;
import dev.forkd.engine.TemplateSpec;
import dev.forkd.guest.AgentEvents;
import dev.forkd.guest.AgentReady;
import dev.forkd.guest.GuestAgent;
import dev.forkd.guest.Rehearsals;
import dev.forkd.linux.Memfd;
import dev.forkd.state.DataDir;
import dev.forkd.vmm.BootSpec;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import dev.forkd.vmm.Vmm;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;

/**
 * The one boot of a template: until the guest is ready, through the user's commands and the warm-up
 * that every child profits from, to the moment it is frozen.
 */
final class TemplateBoot {
  /**
   * Kernel arguments that a template under emulation needs ({@code tsc_early_khz}: without it a
   * busy host's guest cannot calibrate its clock and hangs) or profits from, all measured.
   */
  private static final String COMMAND_LINE =
      "console=ttyS0 quiet panic=-1 mitigations=off nowatchdog tsc=reliable no_timer_check psi=0"
          + " preempt=none forkd.root=/dev/vda forkd.eval=auto tsc_early_khz=";

  private static final Duration RUN_TIMEOUT = Duration.ofMinutes(30);
  private static final Duration WARM_TIMEOUT = Duration.ofMinutes(5);
  private static final Duration CALL_TIMEOUT = Duration.ofSeconds(60);

  /** Timers, RCU and disk threads come to rest in this time. */
  private static final Duration SETTLE = Duration.ofSeconds(3);

  private static final int WARM_ROUNDS = 10;
  private static final int CONSOLE_TAIL_CHARS = 3000;
  private static final int OUTPUT_TAIL_CHARS = 2000;

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

  private final DataDir dir;
  private final Vmm vmm;
  private final BootAssets assets;
  private final Path home;
  private final TemplateSpec spec;
  private final Consumer<String> progress;

  /** What is left of the VM. */
  record Baked(Memfd memory, DiskLayer overlay) {}

  TemplateBoot(
      DataDir dir,
      Vmm vmm,
      BootAssets assets,
      Path home,
      TemplateSpec spec,
      Consumer<String> progress) {
    this.dir = dir;
    this.vmm = vmm;
    this.assets = assets;
    this.home = home;
    this.spec = spec;
    this.progress = progress;
  }

  long memoryBytes() {
    return (long) spec.memoryMib() << 20;
  }

  /** Boots, warms and freezes; the VM is gone when this returns, its state saved. */
  void run(String id, Memfd memory, DiskChain disk, Path devices) throws IOException {
    Files.deleteIfExists(devices);
    VmName name = new VmName(id, dir.runtimeDir());
    progress.accept("booting " + assets.kernelVersion());
    RunningVm vm =
        vmm.boot(
            new BootSpec(
                name,
                new VmHardware(spec.memoryMib()),
                memory,
                disk,
                assets.kernel(),
                assets.initramfs(),
                COMMAND_LINE + assets.tscKhz()));
    try (GuestAgent agent = GuestAgent.attach(id, vm.agent(), quiet())) {
      warm(vm, agent);
      vm.execute(List.of(new VmCommand.Pause(), new VmCommand.SaveDevices(devices)));
    } finally {
      vm.kill();
    }
  }

  private static AgentEvents quiet() {
    return new AgentEvents() {
      @Override
      public void changed() {}

      @Override
      public void lost(ForkdException why) {}
    };
  }

  private void warm(RunningVm vm, GuestAgent agent) {
    AgentReady ready = awaitReady(vm, agent);
    progress.accept("guest is up, evaluator: " + ready.evaluator());
    spec.known().ifPresent(known -> copyFiles(agent, known));
    for (String command : spec.runCommands()) {
      progress.accept("running: " + command);
      exec(agent, List.of("sh", "-c", command), "template command '" + command + "'");
    }
    spec.known()
        .ifPresent(known -> known.services().forEach(service -> startService(agent, service)));
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
    sleep();
    if (!agent.idle()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "template '"
              + spec.tag()
              + "' has processes running after its commands; it can only be frozen at rest");
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

  /** Starts a service and waits until it is ready. */
  private void startService(GuestAgent agent, KnownTemplate.Service service) {
    progress.accept("starting: " + service.command());
    ByteArrayOutputStream output = new ByteArrayOutputStream();
    ProcessListener listener =
        new ProcessListener() {
          @Override
          public void started(int pid) {}

          @Override
          public void stdout(byte[] chunk) {
            output.writeBytes(chunk);
          }

          @Override
          public void stderr(byte[] chunk) {
            stdout(chunk);
          }

          @Override
          public void terminal(byte[] chunk) {}
        };
    ProcessSpec process =
        new ProcessSpec(
            List.of("/bin/bash", "-l", "-c", service.command()),
            Map.of(),
            Optional.empty(),
            Optional.of(service.user()),
            Optional.empty(),
            false,
            Optional.of("service"),
            Optional.empty());
    AtomicBoolean ended = new AtomicBoolean();
    try (ProcessStream _ = agent.processes().start(process, listener, () -> ended.set(true))) {
      long deadline = System.nanoTime() + spec.bootTimeout().toNanos();
      while (!succeeds(agent, List.of("sh", "-c", service.ready()))) {
        if (ended.get() || System.nanoTime() > deadline) {
          throw new ForkdException(
              ErrorCode.FAILED_PRECONDITION,
              "the service of template '"
                  + spec.tag()
                  + "' "
                  + (ended.get() ? "has ended" : "is not ready in time")
                  + ": "
                  + tail(output));
        }
        sleep();
      }
    }
  }

  private static String tail(ByteArrayOutputStream output) {
    String text = output.toString(StandardCharsets.UTF_8);
    return text.substring(Math.max(0, text.length() - OUTPUT_TAIL_CHARS)).strip();
  }

  private static boolean succeeds(GuestAgent agent, List<String> command) {
    return agent
        .exec(ExecSpec.of(command, CALL_TIMEOUT))
        .run(Rehearsals.NOBODY)
        .equals(new ExecExit.Exited(0));
  }

  private AgentReady awaitReady(RunningVm vm, GuestAgent agent) {
    try {
      agent.beginSync(GuestAgent.INITIAL_TOKEN);
      AgentReady ready = agent.awaitReady(spec.bootTimeout());
      if (ready.evaluator().equals("failed")) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION,
            "the interpreter does not start: " + ready.detail().orElse("no reason given"));
      }
      return ready;
    } catch (ForkdException e) {
      String console = vm.console();
      String tail = console.substring(Math.max(0, console.length() - CONSOLE_TAIL_CHARS)).strip();
      throw new ForkdException(
          e.code(),
          "template '"
              + spec.tag()
              + "' did not get ready within "
              + spec.bootTimeout().toSeconds()
              + " s: "
              + e.message()
              + ". The end of its console:\n"
              + (tail.isEmpty() ? "(empty)" : tail),
          e);
    }
  }

  private void exec(GuestAgent agent, List<String> command, String what) {
    ByteArrayOutputStream output = new ByteArrayOutputStream();
    ExecListener listener =
        new ExecListener() {
          @Override
          public void stdout(byte[] chunk) {
            output.writeBytes(chunk);
          }

          @Override
          public void stderr(byte[] chunk) {
            output.writeBytes(chunk);
          }
        };
    ExecExit exit = agent.exec(ExecSpec.of(command, RUN_TIMEOUT)).run(listener);
    if (!exit.equals(new ExecExit.Exited(0))) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          what + " ended with " + exit.shellStatus() + ": " + tail(output));
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

  private static void sleep() {
    try {
      Thread.sleep(SETTLE);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while a template settled", e);
    }
  }
}
