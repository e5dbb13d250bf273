package dev.forkd.sdk.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.sdk.ForkdApiException;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;

/** Commands and terminals in a hosted sandbox. */
public final class HostedCommands {
  private static final String SERVICE = "process.Process/";

  /** What {@link #run} keeps of each output; {@link #start} hands on all of it. */
  public static final int OUTPUT_BYTES_MAX = 64 << 20;

  private static final Duration DEFAULT_LIFETIME = Duration.ofSeconds(60);

  private final Wire wire;
  private final Wire.Access access;

  HostedCommands(Wire wire, Wire.Access access) {
    this.wire = wire;
    this.access = access;
  }

  /**
   * How a command is run. Immutable; each method gives a changed copy.
   *
   * @param user the template's own when empty
   * @param lifetime after which it is killed; no limit when empty
   * @param input its standard input is open
   */
  public record Options(
      Map<String, String> env,
      Optional<String> cwd,
      Optional<String> user,
      Optional<Duration> lifetime,
      boolean input) {
    /** As the template's user, in his home, for a minute. */
    public static final Options DEFAULT =
        new Options(
            Map.of(), Optional.empty(), Optional.empty(), Optional.of(DEFAULT_LIFETIME), false);

    public Options {
      env = Map.copyOf(env);
    }

    public Options env(String name, String value) {
      Map<String, String> more = new LinkedHashMap<>(env);
      more.put(name, value);
      return new Options(more, cwd, user, lifetime, input);
    }

    public Options cwd(String folder) {
      return new Options(env, Optional.of(folder), user, lifetime, input);
    }

    public Options user(String name) {
      return new Options(env, cwd, Optional.of(name), lifetime, input);
    }

    public Options lifetime(Duration limit) {
      return new Options(env, cwd, user, Optional.of(limit), input);
    }

    /** It may run for ever. */
    public Options unlimited() {
      return new Options(env, cwd, user, Optional.empty(), input);
    }

    public Options withInput() {
      return new Options(env, cwd, user, lifetime, true);
    }
  }

  /** A process that lives. */
  public record Listed(int pid, List<String> command) {
    public Listed {
      command = List.copyOf(command);
    }
  }

  /** Runs a line for bash to its end. A status other than 0 is no exception. */
  public CommandResult run(String line) {
    return run(line, Options.DEFAULT);
  }

  public CommandResult run(String line, Options options) {
    Collected collected = new Collected();
    try (HostedProcess process = start(line, options, collected)) {
      HostedProcess.Exit exit = process.await();
      return new CommandResult(
          exit.code(),
          collected.stdout.toString(StandardCharsets.UTF_8),
          collected.stderr.toString(StandardCharsets.UTF_8),
          collected.truncated,
          exit.error());
    }
  }

  /** The beginning of what a command writes. Complete once the command's end is known. */
  private static final class Collected implements Consumer<Output> {
    final ByteArrayOutputStream stdout = new ByteArrayOutputStream();
    final ByteArrayOutputStream stderr = new ByteArrayOutputStream();
    volatile boolean truncated;

    @Override
    public void accept(Output output) {
      ByteArrayOutputStream into = output instanceof Output.Stderr ? stderr : stdout;
      int room = Math.min(output.bytes().length, OUTPUT_BYTES_MAX - into.size());
      into.write(output.bytes(), 0, room);
      truncated |= room < output.bytes().length;
    }
  }

  /** Starts a line for bash. */
  public HostedProcess start(String line) {
    return start(line, Options.DEFAULT.unlimited(), _ -> {});
  }

  /**
   * Starts a line for bash.
   *
   * @param listener hears its output, on one thread; it may block, which slows the process down
   */
  public HostedProcess start(String line, Options options, Consumer<Output> listener) {
    return start(List.of("/bin/bash", "-l", "-c", line), options, Optional.empty(), listener);
  }

  HostedProcess start(
      List<String> args, Options options, Optional<Map<String, ?>> pty, Consumer<Output> listener) {
    Map<String, Object> config = new LinkedHashMap<>();
    config.put("cmd", args.getFirst());
    config.put("args", args.subList(1, args.size()));
    config.put("envs", options.env());
    options.cwd().ifPresent(cwd -> config.put("cwd", cwd));
    Map<String, Object> message = new LinkedHashMap<>();
    message.put("process", config);
    message.put("stdin", options.input());
    pty.ifPresent(size -> message.put("pty", size));
    return new HostedProcess(
        this,
        wire.open(access, SERVICE + "Start", message, options.user(), options.lifetime()),
        listener);
  }

  /** Listens to a process that was started before. */
  public HostedProcess connect(int pid, Consumer<Output> listener) {
    return new HostedProcess(
        this,
        wire.open(access, SERVICE + "Connect", process(pid), Optional.empty(), Optional.empty()),
        listener);
  }

  /** Those that live. */
  public List<Listed> list() {
    List<Listed> all = new ArrayList<>();
    wire.call(access, SERVICE + "List", Map.of(), Optional.empty())
        .path("processes")
        .forEach(node -> {
          List<String> command = new ArrayList<>();
          command.add(node.path("config").path("cmd").asString(""));
          node.path("config").path("args").forEach(arg -> command.add(arg.asString("")));
          all.add(new Listed(node.path("pid").asInt(0), command));
        });
    return all;
  }

  /** Kills a process; false when there is none of this number. */
  public boolean kill(int pid) {
    Map<String, Object> message = new LinkedHashMap<>(process(pid));
    message.put("signal", "SIGNAL_SIGKILL");
    try {
      wire.call(access, SERVICE + "SendSignal", message, Optional.empty());
      return true;
    } catch (ForkdApiException e) {
      if (e.code() == ErrorCode.NOT_FOUND && e.status() == 404) {
        return false;
      }
      throw e;
    }
  }

  void write(int pid, byte[] bytes) {
    Map<String, Object> message = new LinkedHashMap<>(process(pid));
    message.put("input", Map.of("stdin", Base64.getEncoder().encodeToString(bytes)));
    wire.call(access, SERVICE + "SendInput", message, Optional.empty());
  }

  void closeInput(int pid) {
    wire.call(access, SERVICE + "CloseStdin", process(pid), Optional.empty());
  }

  void update(Map<String, ?> message) {
    wire.call(access, SERVICE + "Update", message, Optional.empty());
  }

  private static Map<String, Object> process(int pid) {
    return Map.of("process", Map.of("pid", pid));
  }
}
