import { topologyContract } from '../../../../test/contract/topology.ts';
import { gtmScene } from '../../../../test/doubles/gtm-cluster.ts';

topologyContract('gtm', gtmScene);
