package dev.forkd.http.envd;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.GuestAccount;
import dev.forkd.engine.GuestProcesses;
import dev.forkd.engine.ProcessInput;
import dev.forkd.engine.ProcessListener;
import dev.forkd.engine.ProcessRef;
import dev.forkd.engine.ProcessSpec;
import dev.forkd.engine.ProcessStream;
import dev.forkd.engine.ProcessView;
import dev.forkd.engine.TerminalSize;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Cut;
import dev.forkd.http.CutOffException;
import dev.forkd.http.Head;
import dev.forkd.http.connect.Call;
import dev.forkd.http.connect.ConnectCode;
import dev.forkd.http.connect.ConnectException;
import dev.forkd.http.connect.ConnectMessages;
import dev.forkd.http.connect.MessageStream;
import dev.forkd.http.connect.Method;
import dev.forkd.http.connect.Service;
import dev.forkd.http.envd.ProcessMessages.Config;
import dev.forkd.http.envd.ProcessMessages.ConnectRequest;
import dev.forkd.http.envd.ProcessMessages.Empty;
import dev.forkd.http.envd.ProcessMessages.InputRequest;
import dev.forkd.http.envd.ProcessMessages.ListReply;
import dev.forkd.http.envd.ProcessMessages.Listed;
import dev.forkd.http.envd.ProcessMessages.Pty;
import dev.forkd.http.envd.ProcessMessages.Selector;
import dev.forkd.http.envd.ProcessMessages.SignalRequest;
import dev.forkd.http.envd.ProcessMessages.StartRequest;
import dev.forkd.http.envd.ProcessMessages.StreamInputRequest;
import dev.forkd.http.envd.ProcessMessages.UpdateRequest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/**
 * {@code process.Process}: processes that outlive the stream they are watched by. Output goes
 * straight from the engine's thread to the socket, so a slow client slows the process and nothing
 * piles up; the request's thread waits for the end.
 */
final class ProcessService {
  private static final int INPUT_CHUNK_BYTES = 16384;
  private static final TerminalSize DEFAULT_SIZE = new TerminalSize(80, 24);

  private ProcessService() {}

  static Service<Guest> service() {
    return new Service<>(
        "process.Process",
        List.of(
            new Method.ServerStream<>("Start", StartRequest.class, ProcessService::start),
            new Method.ServerStream<>("Connect", ConnectRequest.class, ProcessService::connect),
            new Method.Unary<>("List", Empty.class, ProcessService::list),
            new Method.Unary<>("SendInput", InputRequest.class, ProcessService::input),
            new Method.Unary<>("CloseStdin", ConnectRequest.class, ProcessService::closeInput),
            new Method.Unary<>("SendSignal", SignalRequest.class, ProcessService::signal),
            new Method.Unary<>("Update", UpdateRequest.class, ProcessService::update),
            new Method.ClientStream<>(
                "StreamInput", StreamInputRequest.class, ProcessService::streamInput)));
  }

  private static void start(Guest guest, Call call, StartRequest ask, MessageStream answers) {
    Config config =
        ask.process()
            .filter(process -> !process.cmd().isEmpty())
            .orElseThrow(
                () -> new ConnectException(ConnectCode.INVALID_ARGUMENT, "no command is given"));
    Acting acting = Acting.of(guest.files(), call.head());
    GuestAccount account = acting.account();
    Optional<String> cwd = config.cwd().filter(given -> !given.isEmpty()).map(acting::path);
    List<String> args = new ArrayList<>(List.of(config.cmd()));
    args.addAll(config.args());
    Map<String, String> env = ownEnv(guest, account);
    env.putAll(config.envs());
    ProcessSpec spec =
        new ProcessSpec(
            args,
            env,
            cwd,
            Optional.of(account.name()),
            ask.pty().map(ProcessService::size),
            ask.stdin().orElse(true),
            ask.tag(),
            // None is no limit, which a client that gives no time does not mean.
            call.timeout().map(time -> time.isZero() ? Duration.ofMillis(1) : time));
    Journal journal = new Journal(guest, spec);
    follow(
        call.head(),
        answers,
        Optional.of(journal),
        listener -> guest.processes().start(spec, listener));
  }

  /** Tells the sandbox's log of a process, as far as somebody listens to it. */
  private static final class Journal {
    private final Guest guest;
    private final ProcessSpec spec;
    private volatile int pid;

    Journal(Guest guest, ProcessSpec spec) {
      this.guest = guest;
      this.spec = spec;
    }

    void started(int as) {
      pid = as;
      guest.note(
          "process started",
          Map.of(
              "pid",
              String.valueOf(pid),
              "command",
              String.join(" ", spec.args()),
              "user",
              spec.user().orElse("root")));
    }

    void ended(ExecExit exit) {
      guest.note(
          "process ended", Map.of("pid", String.valueOf(pid), "exit", ProcessMessages.text(exit)));
    }
  }

  /** What every process of a guest has, before what its start asks for. */
  private static Map<String, String> ownEnv(Guest guest, GuestAccount account) {
    Map<String, String> env = new HashMap<>();
    env.put("HOME", account.home());
    env.put("USER", account.name());
    env.put("LOGNAME", account.name());
    env.putAll(guest.env());
    return env;
  }

  private static TerminalSize size(Pty pty) {
    return pty.size().map(size -> new TerminalSize(size.cols(), size.rows())).orElse(DEFAULT_SIZE);
  }

  private static void connect(Guest guest, Call call, ConnectRequest ask, MessageStream answers) {
    ProcessRef process = Selector.ref(ask.process());
    follow(
        call.head(),
        answers,
        Optional.empty(),
        listener -> guest.processes().attach(process, listener));
  }

  /** Sends what a process tells until it ends, or nobody listens. */
  private static void follow(
      Head head,
      MessageStream answers,
      Optional<Journal> journal,
      Function<ProcessListener, ProcessStream> opener) {
    CompletableFuture<ExecExit> end = new CompletableFuture<>();
    try (ProcessStream process = opener.apply(new Sender(answers, journal, end))) {
      Threads.virtual("process-wait", () -> await(process, end));
      ExecExit exit = answers.until(end, KeepAlive.of(head), ProcessMessages.keepAlive());
      journal.ifPresent(log -> log.ended(exit));
      answers.send(ProcessMessages.ended(exit));
    }
  }

  private static void await(ProcessStream process, CompletableFuture<ExecExit> end) {
    try {
      end.complete(process.await());
    } catch (RuntimeException e) {
      end.completeExceptionally(e);
    }
  }

  /** Passes on what the engine's thread hears; who cannot be told any more ends the call. */
  private record Sender(
      MessageStream answers, Optional<Journal> journal, CompletableFuture<ExecExit> end)
      implements ProcessListener {
    @Override
    public void started(int pid) {
      journal.ifPresent(log -> log.started(pid));
      send(ProcessMessages.started(pid));
    }

    @Override
    public void stdout(byte[] chunk) {
      send(ProcessMessages.stdout(chunk));
    }

    @Override
    public void stderr(byte[] chunk) {
      send(ProcessMessages.stderr(chunk));
    }

    @Override
    public void terminal(byte[] chunk) {
      send(ProcessMessages.terminal(chunk));
    }

    private void send(Object message) {
      if (end.isCompletedExceptionally()) {
        return;
      }
      try {
        answers.send(message);
      } catch (ClientGoneException | CutOffException e) {
        end.completeExceptionally(e);
      }
    }
  }

  private static Object list(Guest guest, Call call, Empty ask) {
    return new ListReply(
        guest.processes().list().stream().map(view -> listed(guest, view)).toList());
  }

  private static Listed listed(Guest guest, ProcessView view) {
    ProcessSpec spec = view.spec();
    Map<String, String> envs = new HashMap<>(spec.env());
    // What every process has is not what this one was started with.
    envs.keySet().removeAll(List.of("HOME", "USER", "LOGNAME"));
    envs.keySet().removeIf(name -> name.startsWith("E2B_"));
    envs.entrySet().removeAll(guest.env().entrySet());
    return new Listed(
        new Config(
            spec.args().getFirst(), spec.args().subList(1, spec.args().size()), envs, spec.cwd()),
        view.pid(),
        spec.label());
  }

  private static Object input(Guest guest, Call call, InputRequest ask) {
    write(guest.processes(), call, Selector.ref(ask.process()), ask.input());
    return new Empty();
  }

  private static Object streamInput(
      Guest guest, Call call, Method.ClientStream.Messages<StreamInputRequest> requests) {
    GuestProcesses processes = guest.processes();
    Optional<ProcessRef> process = Optional.empty();
    for (Optional<StreamInputRequest> next = requests.next();
        next.isPresent();
        next = requests.next()) {
      StreamInputRequest request = next.get();
      if (request.start().isPresent()) {
        ProcessRef named = Selector.ref(request.start().get().process());
        // Before the first input, so that one that is not there is told even without any.
        write(processes, call, named, Optional.empty());
        process = Optional.of(named);
      } else if (request.data().isPresent()) {
        write(
            processes,
            call,
            process.orElseThrow(() ->
                new ConnectException(
                    ConnectCode.INVALID_ARGUMENT, "the first message must name the process")),
            request.data().get().input());
      }
    }
    return new Empty();
  }

  /** Writes until all is taken; what a process does not read ends with its sandbox. */
  private static void write(
      GuestProcesses processes,
      Call call,
      ProcessRef process,
      Optional<ProcessMessages.Input> input) {
    byte[] bytes = ConnectMessages.bytes(input.flatMap(some -> some.stdin().or(some::pty)));
    if (bytes.length == 0) {
      requireThere(processes, process);
      return;
    }
    try (ProcessInput into = processes.input(process);
        Cut.Standing _ = call.cut().on(() -> Threads.virtual("input-cut", into::close))) {
      for (int from = 0; from < bytes.length; from += INPUT_CHUNK_BYTES) {
        into.write(
            Arrays.copyOfRange(bytes, from, Math.min(bytes.length, from + INPUT_CHUNK_BYTES)));
      }
    } catch (ForkdException e) {
      call.cut().check();
      throw e.code() == ErrorCode.FAILED_PRECONDITION
          ? new ConnectException(ConnectCode.INTERNAL, e.message(), e)
          : e;
    }
  }

  private static void requireThere(GuestProcesses processes, ProcessRef process) {
    boolean there =
        processes.list().stream()
            .anyMatch(view ->
                switch (process) {
                  case ProcessRef.Pid(int pid) -> view.pid() == pid;
                  case ProcessRef.Labelled(String label) ->
                      view.spec().label().equals(Optional.of(label));
                });
    if (!there) {
      throw new ConnectException(ConnectCode.NOT_FOUND, "no such process is kept");
    }
  }

  private static Object closeInput(Guest guest, Call call, ConnectRequest ask) {
    guest.processes().closeInput(Selector.ref(ask.process()));
    return new Empty();
  }

  private static Object signal(Guest guest, Call call, SignalRequest ask) {
    int number =
        switch (ask.signal().map(String::valueOf).orElse("")) {
          case "SIGNAL_SIGKILL", "9" -> 9;
          case "SIGNAL_SIGTERM", "15" -> 15;
          default ->
              throw new ConnectException(
                  ConnectCode.INVALID_ARGUMENT, "send SIGNAL_SIGTERM or SIGNAL_SIGKILL");
        };
    guest.processes().signal(Selector.ref(ask.process()), number);
    return new Empty();
  }

  private static Object update(Guest guest, Call call, UpdateRequest ask) {
    ProcessRef process = Selector.ref(ask.process());
    ask.pty().ifPresent(pty -> guest.processes().resize(process, size(pty)));
    return new Empty();
  }
}
