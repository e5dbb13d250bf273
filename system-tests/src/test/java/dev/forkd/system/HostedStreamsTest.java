package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.KnownTemplate;
import dev.forkd.api.Threads;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.hosted.HostedCommands;
import dev.forkd.sdk.hosted.HostedFiles;
import dev.forkd.sdk.hosted.HostedProcess;
import dev.forkd.sdk.hosted.HostedSandbox;
import java.io.IOException;
import java.io.InputStream;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * What clients have open in a real guest, and leave open: it ends with the sandbox, holds nobody up
 * and leaves neither processes nor descriptors.
 */
@Timeout(value = 8, unit = TimeUnit.MINUTES)
class HostedStreamsTest {
  private static final Duration PATIENCE = Duration.ofSeconds(60);
  private static final int FILES = 20_000;

  private static Daemon daemon;
  private static Forkd forkd;

  @BeforeAll
  static void start() throws Exception {
    Lab.bake(KnownTemplate.BASE);
    daemon = Daemon.start();
    forkd = daemon.client();
  }

  @AfterAll
  static void stop() {
    forkd.close();
    daemon.close();
    Lab.clean(Lab.engine());
  }

  /** Processes that are programs, and descriptors of the agent's. */
  private static String left(HostedSandbox sandbox) {
    return sandbox
        .commands()
        .run(
            "grep -l . /proc/[0-9]*/cmdline | wc -l; ls /proc/1/fd | wc -l",
            HostedCommands.Options.DEFAULT.user("root"))
        .stdout();
  }

  /** What is there when nothing comes or goes any more. */
  private static String settled(HostedSandbox sandbox) {
    AtomicReference<String> seen = new AtomicReference<>("");
    await()
        .atMost(PATIENCE)
        .during(Duration.ofSeconds(1))
        .until(() -> {
          String now = left(sandbox);
          return now.equals(seen.getAndSet(now));
        });
    return seen.get();
  }

  private static void block(CountDownLatch until) {
    try {
      until.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** A source of which no more comes. */
  private static InputStream stalled(CountDownLatch until) {
    return new InputStream() {
      private int left = 100_000;

      @Override
      public int read() {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0];
      }

      @Override
      public int read(byte[] bytes, int from, int count) {
        if (left == 0) {
          block(until);
          return -1;
        }
        int some = Math.min(left, count);
        Arrays.fill(bytes, from, from + some, (byte) 'x');
        left -= some;
        return some;
      }
    };
  }

  /** Runs what is going to fail, as nobody answers it any more. */
  private static void failing(String name, Runnable work) {
    Threads.virtual(
        name,
        () -> {
          try {
            work.run();
          } catch (RuntimeException e) {
            return;
          }
        });
  }

  /** A pause waits for none of those who keep still, and nothing of theirs is left behind. */
  @Test
  void aPauseIsNotHeldUp() throws Exception {
    CountDownLatch over = new CountDownLatch(1);
    try (HostedSandbox sandbox = HostedSandbox.create(forkd, "base")) {
      HostedCommands commands = sandbox.commands();
      HostedFiles files = sandbox.files();
      commands.run("head -c 60000000 /dev/zero > big");
      String before = settled(sandbox);
      HostedProcess unread =
          commands.start("yes", HostedCommands.Options.DEFAULT.unlimited(), _ -> block(over));
      HostedProcess deaf =
          commands.start(
              "sleep 1000", HostedCommands.Options.DEFAULT.unlimited().withInput(), _ -> {});
      failing("deaf", () -> deaf.write(new byte[2 << 20]));
      failing("upload", () -> files.write("half", stalled(over)));
      HostedFiles.Watch watch = files.watch(".", true, _ -> {});
      InputStream download = files.open("big");
      assertThat(download.read()).isZero();
      HostedProcess server = commands.start("python3 -m http.server 8000");
      await().atMost(PATIENCE).until(() -> commands.run("ss -ltn").stdout().contains(":8000"));
      HttpResponse<InputStream> page =
          sandbox
              .ports()
              .send(
                  sandbox.ports().request(8000, "/big").GET().build(),
                  HttpResponse.BodyHandlers.ofInputStream());
      assertThat(page.body().read()).isZero();
      await().atMost(PATIENCE).until(() -> files.exists("half"));
      sandbox.pause();
      over.countDown();
      sandbox.resume(Duration.ofMinutes(5));
      assertThat(files.exists("half")).as("an upload that broke off").isFalse();
      for (HostedCommands.Listed process : commands.list()) {
        commands.kill(process.pid());
      }
      await().atMost(PATIENCE).untilAsserted(() -> assertThat(left(sandbox)).isEqualTo(before));
      close(unread, deaf, watch, download, server, page.body());
    }
  }

  private static void close(AutoCloseable... all) throws Exception {
    for (AutoCloseable one : all) {
      try {
        one.close();
      } catch (IOException | ForkdApiException e) {
        assertThat(e).as("it was cut").isNotNull();
      }
    }
  }

  /** A large folder is listed whole and removed while others are served. */
  @Test
  void largeFolders() {
    try (HostedSandbox sandbox = HostedSandbox.create(forkd, "base")) {
      HostedFiles files = sandbox.files();
      sandbox
          .commands()
          .run(
              "mkdir many && cd many && seq -f file-with-a-name-that-is-not-short-%06g "
                  + FILES
                  + " | xargs touch",
              HostedCommands.Options.DEFAULT.lifetime(Duration.ofMinutes(3)));
      String before = settled(sandbox);
      assertThat(files.list("many"))
          .hasSize(FILES)
          .first()
          .extracting(HostedFiles.Entry::name)
          .isEqualTo("file-with-a-name-that-is-not-short-000001");
      files.remove("many");
      assertThat(files.exists("many")).isFalse();
      await().atMost(PATIENCE).untilAsserted(() -> assertThat(left(sandbox)).isEqualTo(before));
    }
  }
}
