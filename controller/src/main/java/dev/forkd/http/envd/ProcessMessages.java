package dev.forkd.http.envd;

import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ProcessRef;
import dev.forkd.http.connect.ConnectCode;
import dev.forkd.http.connect.ConnectException;
import dev.forkd.http.connect.ConnectMessages;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** The messages of {@code process.Process}, as named on the wire. */
final class ProcessMessages {
  /** As {@code strsignal} has them, by number; what is not here is told by its number. */
  private static final Map<Integer, String> SIGNALS =
      Map.ofEntries(
          Map.entry(1, "hangup"),
          Map.entry(2, "interrupt"),
          Map.entry(3, "quit"),
          Map.entry(4, "illegal instruction"),
          Map.entry(5, "trace/breakpoint trap"),
          Map.entry(6, "aborted"),
          Map.entry(7, "bus error"),
          Map.entry(8, "floating point exception"),
          Map.entry(9, "killed"),
          Map.entry(10, "user defined signal 1"),
          Map.entry(11, "segmentation fault"),
          Map.entry(12, "user defined signal 2"),
          Map.entry(13, "broken pipe"),
          Map.entry(14, "alarm clock"),
          Map.entry(15, "terminated"));

  private ProcessMessages() {}

  record Config(String cmd, List<String> args, Map<String, String> envs, Optional<String> cwd) {
    Config {
      cmd = cmd == null ? "" : cmd;
      args = args == null ? List.of() : List.copyOf(args);
      envs = envs == null ? Map.of() : Map.copyOf(envs);
      cwd = cwd == null ? Optional.empty() : cwd;
    }
  }

  record Size(int cols, int rows) {}

  record Pty(Optional<Size> size) {
    Pty {
      size = size == null ? Optional.empty() : size;
    }
  }

  record StartRequest(
      Optional<Config> process, Optional<Pty> pty, Optional<String> tag, Optional<Boolean> stdin) {
    StartRequest {
      process = process == null ? Optional.empty() : process;
      pty = pty == null ? Optional.empty() : pty;
      tag = tag == null ? Optional.empty() : tag;
      stdin = stdin == null ? Optional.empty() : stdin;
    }
  }

  /** One of the two. */
  record Selector(Optional<Integer> pid, Optional<String> tag) {
    Selector {
      pid = pid == null ? Optional.empty() : pid;
      tag = tag == null ? Optional.empty() : tag;
    }

    static ProcessRef ref(Optional<Selector> selector) {
      return selector
          .flatMap(chosen ->
              chosen
                  .pid()
                  .<ProcessRef>map(ProcessRef.Pid::new)
                  .or(() -> chosen.tag().map(ProcessRef.Labelled::new)))
          .orElseThrow(() ->
              new ConnectException(
                  ConnectCode.INVALID_ARGUMENT,
                  "no process is named; send {\"process\":{\"pid\":…}}"));
    }
  }

  record ConnectRequest(Optional<Selector> process) {
    ConnectRequest {
      process = process == null ? Optional.empty() : process;
    }
  }

  record Input(Optional<String> stdin, Optional<String> pty) {
    Input {
      stdin = stdin == null ? Optional.empty() : stdin;
      pty = pty == null ? Optional.empty() : pty;
    }
  }

  record InputRequest(Optional<Selector> process, Optional<Input> input) {
    InputRequest {
      process = process == null ? Optional.empty() : process;
      input = input == null ? Optional.empty() : input;
    }
  }

  /** The process that the data are for. */
  record StreamStart(Optional<Selector> process) {
    StreamStart {
      process = process == null ? Optional.empty() : process;
    }
  }

  /** A piece of input. */
  record StreamData(Optional<Input> input) {
    StreamData {
      input = input == null ? Optional.empty() : input;
    }
  }

  /** One of the three: the process first, then its input. */
  record StreamInputRequest(
      Optional<StreamStart> start, Optional<StreamData> data, Optional<Empty> keepalive) {
    StreamInputRequest {
      start = start == null ? Optional.empty() : start;
      data = data == null ? Optional.empty() : data;
      keepalive = keepalive == null ? Optional.empty() : keepalive;
    }
  }

  /** The signal by its name or number. */
  record SignalRequest(Optional<Selector> process, Optional<Object> signal) {
    SignalRequest {
      process = process == null ? Optional.empty() : process;
      signal = signal == null ? Optional.empty() : signal;
    }
  }

  record UpdateRequest(Optional<Selector> process, Optional<Pty> pty) {
    UpdateRequest {
      process = process == null ? Optional.empty() : process;
      pty = pty == null ? Optional.empty() : pty;
    }
  }

  record Listed(Config config, int pid, Optional<String> tag) {}

  record ListReply(List<Listed> processes) {}

  record Empty() {}

  record Started(int pid) {}

  record Data(Optional<String> stdout, Optional<String> stderr, Optional<String> pty) {}

  record End(int exitCode, boolean exited, String status, Optional<String> error) {}

  record Event(
      Optional<Started> start, Optional<Data> data, Optional<End> end, Optional<Empty> keepalive) {}

  record EventReply(Event event) {}

  static EventReply started(int pid) {
    return new EventReply(
        new Event(
            Optional.of(new Started(pid)), Optional.empty(), Optional.empty(), Optional.empty()));
  }

  static EventReply stdout(byte[] chunk) {
    return data(new Data(text(chunk), Optional.empty(), Optional.empty()));
  }

  static EventReply stderr(byte[] chunk) {
    return data(new Data(Optional.empty(), text(chunk), Optional.empty()));
  }

  static EventReply terminal(byte[] chunk) {
    return data(new Data(Optional.empty(), Optional.empty(), text(chunk)));
  }

  private static Optional<String> text(byte[] chunk) {
    return Optional.of(ConnectMessages.base64(chunk));
  }

  private static EventReply data(Data data) {
    return new EventReply(
        new Event(Optional.empty(), Optional.of(data), Optional.empty(), Optional.empty()));
  }

  static EventReply keepAlive() {
    return new EventReply(
        new Event(Optional.empty(), Optional.empty(), Optional.empty(), Optional.of(new Empty())));
  }

  /**
   * How it ended.
   *
   * @throws ConnectException DEADLINE_EXCEEDED when its time was up
   */
  static EventReply ended(ExecExit exit) {
    String text = text(exit);
    End end =
        switch (exit) {
          case ExecExit.Exited(int status) ->
              new End(status, true, text, status == 0 ? Optional.empty() : Optional.of(text));
          case ExecExit.Signalled _ -> new End(-1, false, text, Optional.of(text));
          case ExecExit.TimedOut _ ->
              throw new ConnectException(ConnectCode.DEADLINE_EXCEEDED, "the process was " + text);
          case ExecExit.Background _ -> throw new IllegalStateException("the process was " + text);
        };
    return new EventReply(
        new Event(Optional.empty(), Optional.empty(), Optional.of(end), Optional.empty()));
  }

  /** How a process ended, in the words of the protocol where it has some. */
  static String text(ExecExit exit) {
    return switch (exit) {
      case ExecExit.Exited(int status) -> "exit status " + status;
      case ExecExit.Signalled(int number) -> {
        String name = SIGNALS.get(number);
        yield "signal: " + (name == null ? "signal " + number : name);
      }
      case ExecExit.TimedOut _ -> "killed: its time was up";
      case ExecExit.Background(int pid) -> "left in the background as " + pid;
    };
  }
}
