// Runs three of Kubernetes' own controllers against an API server: Jobs, garbage collection and quotas.
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"syscall"
	"time"

	quota "k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/resourcequota"
	quotas "k8s.io/kubernetes/pkg/quota/v1/install"
)

const (
	workers = 5
	period  = 30 * time.Second
)

func main() {
	server := flag.String("server", "", "the API server's URL")
	token := flag.String("token-file", "", "a file with the token of an account that may do everything")
	authority := flag.String("ca-file", "", "a file with the certificate of the authority that signed the server's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	config := &rest.Config{
		Host: *server, BearerTokenFile: *token, TLSClientConfig: rest.TLSClientConfig{CAFile: *authority}, QPS: 500, Burst: 1000,
	}
	if err := run(ctx, config); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	typed := informers.NewSharedInformerFactory(client, 0)
	bare := metadatainformer.NewSharedInformerFactory(objects, 0)
	either := informerfactory.NewInformerFactory(typed, bare)
	started := make(chan struct{})

	jobs, err := job.NewController(ctx, typed.Core().V1().Pods(), typed.Batch().V1().Jobs(), client)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	garbage, err := garbagecollector.NewGarbageCollector(
		ctx, client, objects, mapper, garbagecollector.DefaultIgnoredResources(), either, started)
	if err != nil {
		return err
	}
	counted := quotas.NewQuotaConfigurationForControllers(quota.ListerFuncForResourceFunc(typed.ForResource))
	discover := client.Discovery().ServerPreferredNamespacedResources
	limits, err := resourcequota.NewController(ctx, &resourcequota.ControllerOptions{
		QuotaClient:               client.CoreV1(),
		ResourceQuotaInformer:     typed.Core().V1().ResourceQuotas(),
		ResyncPeriod:              controller.StaticResyncPeriodFunc(5 * time.Minute),
		InformerFactory:           either,
		ReplenishmentResyncPeriod: controller.StaticResyncPeriodFunc(12 * time.Hour),
		DiscoveryFunc:             discover,
		IgnoredResourcesFunc:      counted.IgnoredResources,
		InformersStarted:          started,
		Registry:                  quota.NewRegistry(counted.Evaluators()),
		UpdateFilter:              quotas.DefaultUpdateFilter(),
	})
	if err != nil {
		return err
	}

	go jobs.Run(ctx, workers)
	go garbage.Run(ctx, workers, period)
	go garbage.Sync(ctx, client.Discovery(), period)
	go limits.Run(ctx, workers)
	go limits.Sync(ctx, discover, period)
	either.Start(ctx.Done())
	close(started)
	<-ctx.Done()
	return nil
}
