package dev.forkd.controller;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.ForkdVersion;
import dev.forkd.api.Threads;
import dev.forkd.engine.EngineConfig;
import dev.forkd.http.Limits;
import dev.forkd.http.ServerConfig;
import dev.forkd.state.DataDir;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** The flags of {@code forkd serve}. An environment variable stands in for each that is not set. */
@Command(
    name = "forkd serve",
    mixinStandardHelpOptions = true,
    version = "forkd " + ForkdVersion.CURRENT,
    sortOptions = false,
    description = "Runs the daemon in the foreground until SIGTERM or SIGINT.",
    footer = {
      "",
      "In the environment only:",
      "  FORKD_LOG    what is logged: ERROR, WARN, INFO (default), DEBUG or TRACE.",
      "  FORKD_QEMU   another QEMU than qemu-system-x86_64 in the PATH: a binary,",
      "               or the folder that its packages were unpacked into."
    })
final class ServeCommand implements Callable<Integer> {
  private static final String DEFAULT_BIND = "127.0.0.1:8889";

  /** A daemon in the background is found through its file, so it need not have a known port. */
  private static final String BACKGROUND_BIND = "127.0.0.1:0";

  private static final Logger LOG = LoggerFactory.getLogger(ServeCommand.class);

  @Option(
      names = "--bind",
      paramLabel = "HOST:PORT",
      description = "Where to listen (FORKD_BIND; default 127.0.0.1:8889).")
  @Nullable String bind;

  @Option(
      names = "--data-dir",
      paramLabel = "DIR",
      description =
          "Where everything is kept (FORKD_DATA_DIR; default $XDG_DATA_HOME/forkd or"
              + " ~/.local/share/forkd).")
  @Nullable Path dataDir;

  @Option(
      names = "--token-file",
      paramLabel = "FILE",
      description =
          "The token that clients must send, at least 16 characters (FORKD_TOKEN_FILE; default"
              + " DATA-DIR/token, made at the first start).")
  @Nullable Path tokenFile;

  @Option(
      names = "--tls-cert",
      paramLabel = "FILE",
      description = "Serve HTTPS with this certificate chain, PEM (FORKD_TLS_CERT).")
  @Nullable Path tlsCert;

  @Option(
      names = "--tls-key",
      paramLabel = "FILE",
      description = "The certificate's key, PEM PKCS 8, not encrypted (FORKD_TLS_KEY).")
  @Nullable Path tlsKey;

  @Option(
      names = "--tls",
      description =
          "Serve HTTPS for --domain and all names directly below it, with a certificate that is made"
              + " once, in DATA-DIR/tls; clients must be told to trust it.")
  boolean tls;

  @Option(
      names = "--audit-log",
      paramLabel = "FILE",
      description = "One JSON line per request (FORKD_AUDIT_LOG; default DATA-DIR/audit.log).")
  @Nullable Path auditLog;

  @Option(
      names = "--branch-concurrency",
      paramLabel = "N",
      description = "Branches at once; more are refused (FORKD_BRANCH_CONCURRENCY; default 4).")
  @Nullable Integer branchConcurrency;

  @Option(
      names = "--kill-on-exit",
      description = "End all sandboxes when the daemon stops; otherwise the next one adopts them.")
  boolean killOnExit;

  @Option(
      names = "--background",
      description =
          "Started by a command: takes any free port, gives way to a daemon in the foreground.")
  boolean background;

  @Option(
      names = "--queue",
      paramLabel = "N",
      description =
          "Requests that may wait for a core where guests are emulated; one sandbox may have half"
              + " of them, more are answered 503 (FORKD_QUEUE; default 2048).")
  @Nullable Integer queueMax;

  @Option(
      names = "--domain",
      paramLabel = "NAME[:PORT]",
      description =
          "What host names of sandboxes end with: PORT-SANDBOX.NAME (FORKD_DOMAIN; default: E2B's"
              + " clients use their own E2B_DOMAIN).")
  @Nullable String domain;

  @Option(
      names = "--idle-exit-secs",
      paramLabel = "SECS",
      description = "Stop after so long without a request (default: never).")
  @Nullable Long idleExitSeconds;

  /** Flags of other forkd daemons; everything is in the data directory here. */
  @Option(names = "--state", hidden = true)
  @Nullable Path state;

  @Option(names = "--snapshot-root", hidden = true)
  @Nullable Path snapshotRoot;

  @Option(names = "--prewarm-scratch-dir", hidden = true)
  @Nullable Path prewarmScratchDir;

  /** RFC 1123, and a port. */
  private static final Pattern DOMAIN =
      Pattern.compile("[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?");

  private final EngineOpener opener;
  private final Map<String, String> environment;

  ServeCommand(EngineOpener opener, Map<String, String> environment) {
    this.opener = opener;
    this.environment = environment;
  }

  /** Runs with these arguments; gives the exit status. */
  static int run(EngineOpener opener, Map<String, String> environment, String... args) {
    CommandLine line = new CommandLine(new ServeCommand(opener, environment));
    line.setExecutionExceptionHandler((failure, commandLine, _) -> {
      if (failure instanceof ForkdException e) {
        commandLine.getErr().println("Error: " + e.message());
        LOG.debug("the daemon did not start", e);
        return e.code().exitCode();
      }
      throw failure;
    });
    return line.execute(args);
  }

  private Optional<String> variable(String name) {
    return Optional.ofNullable(environment.get(name)).filter(value -> !value.isBlank());
  }

  private Optional<Path> path(@Nullable Path flag, String variable) {
    return flag != null ? Optional.of(flag) : variable(variable).map(Path::of);
  }

  DaemonConfig config() {
    String address =
        bind != null
            ? bind
            : variable("FORKD_BIND").orElse(background ? BACKGROUND_BIND : DEFAULT_BIND);
    Optional<Path> certificate = path(tlsCert, "FORKD_TLS_CERT");
    Optional<Path> key = path(tlsKey, "FORKD_TLS_KEY");
    if (certificate.isPresent() != key.isPresent()) {
      throw invalid("--tls-cert and --tls-key need each other; only one is set");
    }
    if (tls && (certificate.isPresent() || domain().isEmpty())) {
      throw invalid("--tls needs --domain, and no --tls-cert: it makes one for that domain");
    }
    Path data = dataDir != null ? dataDir : DataDir.locate(environment);
    warnIfIgnored("--state", state);
    warnIfIgnored("--snapshot-root", snapshotRoot);
    warnIfIgnored("--prewarm-scratch-dir", prewarmScratchDir);
    return new DaemonConfig(
        BindAddress.parse(address),
        data,
        path(tokenFile, "FORKD_TOKEN_FILE"),
        certificate.isPresent()
            ? Optional.of(new ServerConfig.TlsFiles(certificate.get(), key.orElseThrow()))
            : tls
                ? Optional.of(TlsMaker.in(data.resolve("tls"), domain().orElseThrow()))
                : Optional.empty(),
        path(auditLog, "FORKD_AUDIT_LOG"),
        cap(),
        background,
        idleExit(),
        killOnExit,
        queueMax(),
        domain());
  }

  /** What another forkd daemon was told must not look obeyed here. */
  private void warnIfIgnored(String flag, @Nullable Path value) {
    String variable = "FORKD_" + flag.substring(2).replace('-', '_').toUpperCase(Locale.ROOT);
    if (value != null || variable(variable).isPresent()) {
      LOG.warn(
          "{} has no effect: everything is in the data directory, see --data-dir",
          value != null ? flag : variable);
    }
  }

  private Optional<String> domain() {
    Optional<String> name = domain != null ? Optional.of(domain) : variable("FORKD_DOMAIN");
    name.ifPresent(text -> {
      if (!DOMAIN.matcher(text).matches()) {
        throw invalid("--domain is '" + text + "'; it must be a host name, with a port if need be");
      }
    });
    return name;
  }

  private int cap() {
    int cap =
        branchConcurrency != null
            ? branchConcurrency
            : number("FORKD_BRANCH_CONCURRENCY", EngineConfig.DEFAULT_BRANCH_CONCURRENCY);
    if (cap < 1 || cap > 1000) {
      throw invalid("--branch-concurrency is " + cap + "; it must be 1 to 1000");
    }
    return cap;
  }

  private int queueMax() {
    int max = queueMax != null ? queueMax : number("FORKD_QUEUE", EngineConfig.DEFAULT_QUEUE_MAX);
    if (max < 1 || max > Limits.REQUESTS_MAX) {
      throw invalid("--queue is " + max + "; it must be 1 to " + Limits.REQUESTS_MAX);
    }
    return max;
  }

  private int number(String variable, int otherwise) {
    String text = variable(variable).orElse(Integer.toString(otherwise));
    try {
      return Integer.parseInt(text);
    } catch (NumberFormatException e) {
      throw invalid(variable + " is '" + text + "', which is not a number");
    }
  }

  private Optional<Duration> idleExit() {
    if (idleExitSeconds == null) {
      return Optional.empty();
    }
    if (idleExitSeconds < 1 || idleExitSeconds > 86400) {
      throw invalid("--idle-exit-secs is " + idleExitSeconds + "; it must be 1 to 86400");
    }
    return Optional.of(Duration.ofSeconds(idleExitSeconds));
  }

  private static ForkdException invalid(String message) {
    return new ForkdException(ErrorCode.INVALID_ARGUMENT, message);
  }

  @Override
  public Integer call() throws InterruptedException {
    try (Daemon daemon = Daemon.start(config(), opener, InstantSource.system(), System::nanoTime)) {
      // SIGTERM and SIGINT run this; the process ends when it returns.
      Thread onSignal = Threads.platformFactory("stop").newThread(daemon::close);
      Runtime.getRuntime().addShutdownHook(onSignal);
      daemon.awaitStopRequest();
    }
    return 0;
  }
}
