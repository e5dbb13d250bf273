package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.KnownTemplate;
import dev.forkd.junit.ForkedSandbox;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.hosted.CommandResult;
import dev.forkd.sdk.hosted.HostOptions;
import dev.forkd.sdk.hosted.HostedCommands;
import dev.forkd.sdk.hosted.HostedFiles;
import dev.forkd.sdk.hosted.HostedProcess;
import dev.forkd.sdk.hosted.HostedSandbox;
import dev.forkd.sdk.hosted.Output;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The Java SDK's hosted sandboxes, and the JUnit support, in real VMs. */
class HostedSdkTest {
  private static final Duration PATIENCE = Duration.ofSeconds(30);
  private static Daemon daemon;
  private static Forkd forkd;

  @BeforeAll
  static void start() throws Exception {
    Lab.bake(KnownTemplate.BASE);
    daemon = Daemon.start();
    forkd = daemon.client();
    System.setProperty("forkd.url", daemon.url());
    System.setProperty("forkd.token", Daemon.TOKEN);
  }

  @AfterAll
  static void stop() {
    forkd.close();
    daemon.close();
    Lab.clean(Lab.engine());
  }

  private static HostedSandbox sandbox() {
    return HostedSandbox.create(
        forkd, "base", HostOptions.DEFAULT.env("GREETING", "hello").metadata("of", "a test"));
  }

  /** A command's output, status and failures; one that goes on while others listen to it. */
  @Test
  void commands() {
    try (HostedSandbox sandbox = sandbox()) {
      HostedCommands commands = sandbox.commands();
      CommandResult result = commands.run("echo $GREETING; echo err >&2; exit 3");
      assertThat(result)
          .isEqualTo(new CommandResult(3, "hello\n", "err\n", false, "exit status 3"));
      assertThat(
              commands
                  .run("id -un; pwd", HostedCommands.Options.DEFAULT.user("root").cwd("/tmp"))
                  .stdout())
          .isEqualTo("root\n/tmp\n");
      List<String> heard = new CopyOnWriteArrayList<>();
      HostedProcess cat =
          commands.start(
              "cat",
              HostedCommands.Options.DEFAULT.withInput(),
              output -> heard.add(output.text()));
      assertThat(commands.list()).anyMatch(process -> process.pid() == cat.pid());
      cat.write("one\n");
      await().atMost(PATIENCE).untilAsserted(() -> assertThat(heard).containsExactly("one\n"));
      cat.close();
      try (HostedProcess again = commands.connect(cat.pid(), _ -> {})) {
        commands.connect(cat.pid(), _ -> {}).closeInput();
        assertThat(again.await().code()).isZero();
      }
      assertThat(commands.kill(cat.pid())).isFalse();
      assertThatThrownBy(() ->
              commands.run(
                  "sleep 30", HostedCommands.Options.DEFAULT.lifetime(Duration.ofSeconds(1))))
          .isInstanceOfSatisfying(
              ForkdApiException.class,
              e -> assertThat(e.code()).isEqualTo(ErrorCode.DEADLINE_EXCEEDED));
    }
  }

  /** A terminal has a size that can be changed, and an end. */
  @Test
  void terminal() {
    try (HostedSandbox sandbox = sandbox()) {
      List<String> seen = new CopyOnWriteArrayList<>();
      HostedProcess terminal =
          sandbox
              .commands()
              .terminal(80, 24, HostedCommands.Options.DEFAULT, output -> seen.add(output.text()));
      terminal.resize(100, 30);
      terminal.write("stty size; exit 4\n");
      assertThat(terminal.await().code()).isEqualTo(4);
      assertThat(String.join("", seen)).contains("30 100");
    }
  }

  /** Files are written, read, listed, moved, watched, removed. */
  @Test
  void files() {
    try (HostedSandbox sandbox = sandbox()) {
      HostedFiles files = sandbox.files();
      List<HostedFiles.Change> changes = new CopyOnWriteArrayList<>();
      files.makeDirectory("sub");
      assertThat(files.makeDirectory("sub")).isFalse();
      try (HostedFiles.Watch _ = files.watch("sub", true, changes::add)) {
        files.write("sub/a b", "text");
        await()
            .atMost(PATIENCE)
            .until(() ->
                changes.contains(new HostedFiles.Change(HostedFiles.Change.Kind.CREATE, "a b")));
      }
      assertThat(files.read("sub/a b")).isEqualTo("text");
      assertThat(files.list("sub").getFirst().path()).isEqualTo("/home/user/sub/a b");
      assertThat(files.move("sub/a b", "c").sizeBytes()).isEqualTo(4);
      files.remove("sub");
      assertThat(files.exists("sub")).isFalse();
      assertThatThrownBy(() -> files.read("none"))
          .isInstanceOfSatisfying(
              ForkdApiException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND));
    }
  }

  /** A server in it is reached; it is paused and goes on; forks go on from its state. */
  @Test
  void lifeAndPorts() throws Exception {
    try (HostedSandbox sandbox = sandbox()) {
      sandbox.files().write("index.html", "served");
      sandbox.commands().start("python3 -m http.server 8000").close();
      await()
          .atMost(PATIENCE)
          .until(() -> {
            HttpResponse<String> answer =
                forkd
                    .httpClient()
                    .send(
                        sandbox.port(8000, "/index.html").build(),
                        HttpResponse.BodyHandlers.ofString());
            return answer.statusCode() == 200 && answer.body().equals("served");
          });
      sandbox.pause();
      assertThat(sandbox.paused()).isTrue();
      sandbox.resume(Duration.ofMinutes(5));
      assertThat(sandbox.files().read("index.html")).isEqualTo("served");
      List<HostedSandbox> forks = sandbox.fork(2);
      assertThat(forks)
          .hasSize(2)
          .allSatisfy(fork ->
              assertThat(fork.commands().run("pgrep -fc http.server").stdout())
                  .isNotEqualTo("0\n"));
      String snapshot = sandbox.snapshot();
      try (HostedSandbox other = HostedSandbox.create(forkd, snapshot)) {
        assertThat(other.files().read("index.html")).isEqualTo("served");
      }
      forks.forEach(HostedSandbox::close);
      assertThat(HostedSandbox.connect(forkd, sandbox.id(), Duration.ofMinutes(1)).end())
          .isAfter(java.time.Instant.now());
    }
  }

  /** Output can be subscribed to. */
  @Test
  void outputIsAFlow() {
    try (HostedSandbox sandbox = sandbox()) {
      List<String> heard = new CopyOnWriteArrayList<>();
      HostedProcess process = sandbox.commands().start("read x; echo $x", withInput(), _ -> {});
      process
          .output()
          .subscribe(
              new java.util.concurrent.Flow.Subscriber<>() {
                @Override
                public void onSubscribe(java.util.concurrent.Flow.Subscription subscription) {
                  subscription.request(Long.MAX_VALUE);
                }

                @Override
                public void onNext(Output output) {
                  heard.add(output.text());
                }

                @Override
                public void onError(Throwable failure) {
                  heard.add("failed: " + failure);
                }

                @Override
                public void onComplete() {
                  heard.add("complete");
                }
              });
      process.write("word\n");
      process.await();
      await()
          .atMost(PATIENCE)
          .untilAsserted(() -> assertThat(heard).containsExactly("word\n", "complete"));
    }
  }

  private static HostedCommands.Options withInput() {
    return HostedCommands.Options.DEFAULT.withInput();
  }

  /** A test gets a child of its own, of a template or of one that was warmed for it. */
  @Test
  void ofItsOwn(
      @ForkedSandbox Sandbox plain,
      @ForkedSandbox(warm = "x = 41") Sandbox first,
      @ForkedSandbox(warm = "x = 41") Sandbox second) {
    assertThat(plain.eval("'x' in globals()").result()).contains("False");
    assertThat(first.eval("x + 1").result()).contains("42");
    first.eval("x = 0");
    assertThat(second.eval("x + 1").result()).contains("42");
  }
}
