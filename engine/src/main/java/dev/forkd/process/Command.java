package dev.forkd.process;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * A program to run, with its limits. Standard input is empty; no shell is involved.
 *
 * @param arguments the program and what it is given; at least one element
 * @param directory where it runs; the current folder if absent
 * @param environment variables set in addition to those of this process
 * @param timeout after which it and all it started are killed; positive
 * @param outputLimitBytes how much of the <em>end</em> of each output stream is kept
 * @param stdoutFile where standard output goes instead of being kept; replaced if it exists
 * @param lines receives each line of both streams as it comes, on another thread
 * @param advice what a reader of the error should do when it fails; may be empty
 */
public record Command(
    List<String> arguments,
    Optional<Path> directory,
    Map<String, String> environment,
    Duration timeout,
    int outputLimitBytes,
    Optional<Path> stdoutFile,
    Consumer<String> lines,
    String advice) {
  private static final Duration DEFAULT_TIMEOUT = Duration.ofSeconds(60);
  private static final int DEFAULT_OUTPUT_LIMIT_BYTES = 256 * 1024;

  public Command {
    arguments = List.copyOf(arguments);
    environment = Map.copyOf(environment);
    if (arguments.isEmpty()) {
      throw new IllegalArgumentException("a command needs a program");
    }
    if (!timeout.isPositive()) {
      throw new IllegalArgumentException("timeout " + timeout + " is not positive");
    }
    if (outputLimitBytes < 1) {
      throw new IllegalArgumentException("output limit " + outputLimitBytes + " is not positive");
    }
  }

  /** With a time limit of 60 s and 256 KiB of each output stream kept. */
  public static Command of(String... arguments) {
    return of(List.of(arguments));
  }

  /** With a time limit of 60 s and 256 KiB of each output stream kept. */
  public static Command of(List<String> arguments) {
    return new Command(
        arguments,
        Optional.empty(),
        Map.of(),
        DEFAULT_TIMEOUT,
        DEFAULT_OUTPUT_LIMIT_BYTES,
        Optional.empty(),
        _ -> {},
        "");
  }

  public Command in(Path folder) {
    return new Command(
        arguments,
        Optional.of(folder),
        environment,
        timeout,
        outputLimitBytes,
        stdoutFile,
        lines,
        advice);
  }

  public Command environment(Map<String, String> variables) {
    return new Command(
        arguments, directory, variables, timeout, outputLimitBytes, stdoutFile, lines, advice);
  }

  public Command timeout(Duration limit) {
    return new Command(
        arguments, directory, environment, limit, outputLimitBytes, stdoutFile, lines, advice);
  }

  public Command outputLimitBytes(int bytes) {
    return new Command(
        arguments, directory, environment, timeout, bytes, stdoutFile, lines, advice);
  }

  public Command stdoutTo(Path file) {
    return new Command(
        arguments,
        directory,
        environment,
        timeout,
        outputLimitBytes,
        Optional.of(file),
        lines,
        advice);
  }

  public Command lines(Consumer<String> receiver) {
    return new Command(
        arguments, directory, environment, timeout, outputLimitBytes, stdoutFile, receiver, advice);
  }

  public Command advice(String whatToDo) {
    return new Command(
        arguments, directory, environment, timeout, outputLimitBytes, stdoutFile, lines, whatToDo);
  }

  /** The program's name as given. */
  public String program() {
    return arguments.getFirst();
  }

  /** As a person would type it. */
  public String display() {
    StringBuilder text = new StringBuilder();
    for (String argument : arguments) {
      boolean plain = argument.matches("[A-Za-z0-9_./:=,@%^+-]+");
      text.append(text.isEmpty() ? "" : " ")
          .append(plain ? argument : "'" + argument.replace("'", "'\\''") + "'");
    }
    return text.toString();
  }
}
