import static io.gatling.javaapi.core.CoreDsl.*;
import static io.gatling.javaapi.http.HttpDsl.*;

import io.gatling.javaapi.core.*;
import io.gatling.javaapi.http.*;
import java.time.Duration;

/**
 * One GET with one check. `-Drate=` sets arrivals a second over shared connections (open model); else `-Dusers=` go round
 * and round, each with a connection of its own. `-Dseconds=` bounds both.
 */
public class Bench extends Simulation {
  private final int rate = Integer.getInteger("rate", 0);
  private final int users = Integer.getInteger("users", 64);
  private final Duration length = Duration.ofSeconds(Integer.getInteger("seconds", 10));

  private final ChainBuilder open = exec(http("Open").get("/products/CH-1189").check(status().is(200)));

  public Bench() {
    HttpProtocolBuilder protocol = http.baseUrl(System.getProperty("url"));
    if (rate > 0) {
      setUp(scenario("Benchmark").exec(open).injectOpen(constantUsersPerSec(rate).during(length)))
          .protocols(protocol.shareConnections());
    } else {
      setUp(scenario("Benchmark").forever().on(open).injectOpen(atOnceUsers(users)))
          .protocols(protocol)
          .maxDuration(length);
    }
  }
}
